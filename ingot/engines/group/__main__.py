"""The supervisor of one host: `python3 -m ingot.engines.group SETTINGS [leave]`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Optional, Union

from ingot.engines.group import decision, firewall
from ingot.engines.group.answers import Answers
from ingot.engines.group.beats import Beats
from ingot.engines.group.container import Container
from ingot.engines.group.decision import ENDED, RUN, RUNNING, STOP, STOPPED, Head, Heard, Member
from ingot.engines.group.settings import Settings
from ingot.engines.replica_watch import files

TICK_S = 0.5


class Supervisor:
    """This host's part of the group, until it is told to end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ends = False
        self.container = Container(settings.compose, settings.service, settings.container, settings.log)
        key = bytes.fromhex(Path(settings.key).read_text().strip())
        self.beats = Beats(settings.me, settings.hosts, settings.port, key, settings.digest)
        self.answers = Answers(settings.endpoint, settings.health, settings.question, settings.start_deadline_s)
        self._written: dict[str, object] = {}
        self._told: tuple[int, str, str] = (0, "", "")

    def run(self) -> None:
        """Nothing of a supervisor before this one may run; then follow, or lead."""
        while not self.container.remove() and not self.ends:
            time.sleep(TICK_S)
        self.beats.start()
        if self.settings.leads:
            self._lead()
        else:
            self._follow()
        self.container.remove()

    def _lead(self) -> None:
        before = files.stored(Path(self.settings.epoch), 0)
        head = Head((before if isinstance(before, int) else 0) + 1, since=time.monotonic())
        self._number(head.epoch)
        self.answers.watch()
        while not self.ends:
            self._write(head)
            self.beats.say(head.epoch, head.phase, answered=head.answered, failures=head.failures)
            looked = self.answers.epoch == head.epoch
            wanted = decision.lead(
                head,
                self.beats.heard(),
                runs=self.container.runs,
                answered=looked and self.answers.answered,
                trouble=self.answers.trouble if looked else "",
                digest=self.settings.digest,
                now=time.monotonic(),
            )
            if wanted.epoch != head.epoch:
                # The number is on the disk before anybody hears of it.
                self._number(wanted.epoch)
                self._write(wanted)
            if wanted.phase == STOP and head.phase == RUN:
                self.answers.begin(0)
                self.beats.say(wanted.epoch, STOP, failures=wanted.failures)
                self._removed()
            elif wanted.phase == RUN and head.phase == STOP:
                self.beats.say(wanted.epoch, RUN, failures=wanted.failures)
                self.container.start()
                self.answers.begin(wanted.epoch)
            head = wanted
            time.sleep(TICK_S)

    def _follow(self) -> None:
        member = Member()
        while not self.ends:
            head = self.beats.heard()[self.settings.head]
            self._write(member, head if head and head.epoch == member.epoch else None)
            self.beats.say(member.epoch, member.phase)
            wanted = decision.follow(
                member,
                head,
                runs=self.container.runs,
                digest=self.settings.digest,
                now=time.monotonic(),
            )
            if wanted.phase in (STOPPED, ENDED) and member.phase == RUNNING:
                self.beats.say(wanted.epoch, ENDED)
                self._removed()
            elif wanted.phase == RUNNING and member.phase == STOPPED:
                self.container.start()
            member = wanted
            time.sleep(TICK_S)

    def _removed(self) -> None:
        """Have nothing run here; a host on which that fails says nothing until it is so."""
        while not self.container.remove() and not self.ends:
            time.sleep(TICK_S)

    def _number(self, epoch: int) -> None:
        files.replace(Path(self.settings.epoch), f"{epoch}\n")

    def _write(self, own: Union[Head, Member], head: Optional[Heard] = None) -> None:  # noqa: UP007, UP045
        """What the host's runs read, where it is another than before; a member knows of answers by its head."""
        told = own if isinstance(own, Head) else head
        cause = own.cause if isinstance(own, Head) else own.why
        state = {
            "cause": cause, "epoch": own.epoch, "phase": own.phase, "why": own.why,
            "failures": told.failures if told else 0, "answered": told.answered if told else False,
            "digest": self.settings.digest,
        }  # fmt: skip
        if state == self._written:
            return
        if (own.epoch, own.phase, own.why) != self._told:
            if own.epoch != self._told[0] and cause:
                print(f"<4>{cause}: all stop", flush=True)
            self._told = (own.epoch, own.phase, own.why)
            print(f"<5>epoch {own.epoch}: {own.phase}{f' ({own.why})' if own.why else ''}", flush=True)
        self._written = state
        files.replace(Path(self.settings.state), json.dumps(state, indent=1, sort_keys=True) + "\n")


def main(file: str, word: str = "") -> int:
    """Supervise until SIGTERM; with the word `leave`, take this host's rules away. Returns the exit status."""
    settings = Settings.read(Path(file))
    if word == "leave":
        firewall.leave(settings.owner)
        return 0
    try:
        firewall.close(settings.interface, settings.peers.values(), settings.port, settings.owner)
        supervisor = Supervisor(settings)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        print(f"<3>nothing is started: {error}", flush=True)
        return 1

    def end(_: int, __: Optional[FrameType]) -> None:  # noqa: UP045 (python 3.9)
        supervisor.ends = True

    signal.signal(signal.SIGTERM, end)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
