"""Why an engine ended by itself, in words that name what is known and no more."""

import pytest

from ingot.facts.crash import Crash
from ingot.operations.serving.crash import explain


@pytest.mark.parametrize(
    ("crash", "asked", "words"),
    [
        (Crash(2), None, "exit code 2; last request: none yet"),
        (
            Crash(132, processor="AMD EPYC"),
            "/v1/completions",
            "exit code 132, ended by SIGILL (an instruction that this processor does not have); last request: "
            "/v1/completions; processor: AMD EPYC",
        ),
        (
            Crash(0, last_words="Fatal Python error: Segmentation fault", kernel="traps: python3[7] segfault at 0"),
            None,
            "exit code 0, ended by SIGSEGV (memory that is not its own); its last words: Fatal Python error: "
            "Segmentation fault; the kernel's: traps: python3[7] segfault at 0; last request: none yet",
        ),
        (
            Crash(137, out_of_memory=True),
            None,
            "exit code 137, ended by SIGKILL (killed from outside, most often by the kernel for want of memory); the "
            "kernel ended it for want of memory; last request: none yet",
        ),
        (Crash(255), None, "exit code 255; last request: none yet"),
        (
            Crash(None, last_words="Fatal Python error: Aborted"),
            None,
            "ended by SIGABRT (it gave itself up); its last ",
        ),
        (Crash(), None, "Docker knows of no end; last request: none yet"),
    ],
)
def test_what_is_known_is_said(crash: Crash, asked: str | None, words: str) -> None:
    assert explain(crash, asked).startswith(words)
