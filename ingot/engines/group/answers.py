"""Whether the group answers, as its head sees it: by its counters, and by a short question while it is idle."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from ingot.engines.replica_watch import calls

#: Seconds between two looks, for the answer to a question, and for a count.
EVERY_S, ANSWER_S, COUNT_S = 10.0, 30.0, 10.0
#: A question that has no answer is asked again; an engine that says why is believed.
MISSES = 2
_COUNTED = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|prompt_tokens_total|generation_tokens_total)\{[^}]*\} (\S+)",
    re.M,
)


class Answers:
    """A thread that looks while an epoch runs. `answered` and `trouble` are of that epoch."""

    def __init__(self, endpoint: str, health: str, question: tuple[str, Mapping[str, Any]], deadline_s: float) -> None:
        self.endpoint, self.health, self.deadline_s = endpoint, health, deadline_s
        self.path, self.body = question
        self.epoch, self.began = 0, 0.0
        self.answered, self.trouble = False, ""
        self._misses, self._moved = 0, -1.0

    def watch(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._always, daemon=True).start()

    def begin(self, epoch: int) -> None:
        """Look at this epoch from now on; 0: at none."""
        self.answered, self.trouble, self._misses, self._moved = False, "", 0, -1.0
        self.began, self.epoch = time.monotonic(), epoch

    def _always(self) -> None:
        while True:
            epoch = self.epoch
            if epoch:
                answered, trouble = self._look()
                if self.epoch == epoch:
                    self.answered, self.trouble = self.answered or answered, trouble
            time.sleep(EVERY_S if self.answered else 1.0)

    def _look(self) -> tuple[bool, str]:
        """Whether it answered, and what is wrong."""
        if not self.answered:
            waited = time.monotonic() - self.began
            if calls.get(f"http://{self.endpoint}{self.health}", COUNT_S)[0] != 200:
                late = f"it was not ready after {waited:.0f} s"
                return False, late if waited > self.deadline_s else ""
        elif self._is_at_work():
            return True, ""
        status = calls.post(f"http://{self.endpoint}{self.path}", self.body, ANSWER_S)
        if status == 200:
            self._misses = 0
            return True, ""
        self._misses += 1
        if status == 0 and self._misses < MISSES:
            return False, ""
        said = f"was answered with {status}" if status else f"had no answer in {ANSWER_S:.0f} s, {self._misses} times"
        return False, f"a short question {said}"

    def _is_at_work(self) -> bool:
        """Whether requests are with it, and it went on with them since the last look."""
        status, text = calls.get(f"http://{self.endpoint}/metrics", COUNT_S)
        counted = [(name, float(value)) for name, value in _COUNTED.findall(text)] if status == 200 else []
        requests = sum(value for name, value in counted if name.startswith("num_requests"))
        moved = sum(value for name, value in counted if not name.startswith("num_requests"))
        went_on, self._moved = moved != self._moved, moved
        return bool(requests and went_on)
