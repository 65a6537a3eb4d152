"""Why an engine ended by itself, in words: everything that is known of it, since it may not have said a thing."""

from __future__ import annotations

import signal

from ingot.facts.crash import Crash

#: What ends a program by a signal, in the words of signal(7).
MEANINGS = {
    signal.SIGILL: "an instruction that this processor does not have",
    signal.SIGABRT: "it gave itself up",
    signal.SIGBUS: "memory that is not there, such as a full /dev/shm",
    signal.SIGFPE: "arithmetic without a result",
    signal.SIGKILL: "killed from outside, most often by the kernel for want of memory",
    signal.SIGSEGV: "memory that is not its own",
    signal.SIGTERM: "asked to end from outside",
}
#: Python's names for signals, as PYTHONFAULTHANDLER writes them after "Fatal Python error: ".
_FATAL = {
    "Illegal instruction": signal.SIGILL,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Floating-point exception": signal.SIGFPE,
    "Floating point exception": signal.SIGFPE,
    "Segmentation fault": signal.SIGSEGV,
}


def explain(crash: Crash, asked: str | None) -> str:
    """How an engine ended, what it was asked last (the path of a request, None: nothing yet), on which processor."""
    known = [_ending(crash)]
    if crash.out_of_memory:
        known.append("the kernel ended it for want of memory")
    if crash.last_words:
        known.append(f"its last words: {crash.last_words}")
    if crash.kernel:
        known.append(f"the kernel's: {crash.kernel}")
    known.append(f"last request: {asked or 'none yet'}")
    if crash.processor:
        known.append(f"processor: {crash.processor}")
    return "; ".join(known)


def _ending(crash: Crash) -> str:
    fatal = next(
        (number for words, number in _FATAL.items() if f"Fatal Python error: {words}" in crash.last_words), None
    )
    if crash.exit_code is None:
        return _signal(fatal) if fatal else "Docker knows of no end"
    number = fatal or _number(crash.exit_code)
    return f"exit code {crash.exit_code}" + (f", {_signal(number)}" if number else "")


def _number(exit_code: int) -> signal.Signals | None:
    """The signal that a shell's exit code stands for: 128 and its number."""
    try:
        return signal.Signals(exit_code - 128) if exit_code > 128 else None
    except ValueError:
        return None


def _signal(number: signal.Signals) -> str:
    meaning = MEANINGS.get(number)
    return f"ended by {number.name}" + (f" ({meaning})" if meaning else "")
