"""Simulated: modprobe and rmmod for NVIDIA's modules and nouveau; any other module goes to the real tool."""

import os
import sys
from pathlib import Path

from . import kernel, machine


def main(tool: str, arguments: list[str]) -> int:
    """Answer as `modprobe` or `rmmod` would; returns the exit status."""
    names = [word.replace("-", "_") for word in arguments if not word.startswith("-") and "=" not in word]
    if not names or not any(name in machine.SIMULATED_MODULES for name in names):
        return _real(tool, arguments)
    flags = [word for word in arguments if word.startswith("-")]
    short = "".join(flag[1:] for flag in flags if not flag.startswith("--"))
    remove = tool == "rmmod" or "r" in short or "--remove" in flags
    several = remove or "a" in short or "--all" in flags
    if "n" in short or "--dry-run" in flags or "--show" in flags:
        return 0 if all(machine.installed(name) for name in names) else 1
    for name in names if several else names[:1]:
        try:
            if not remove:
                kernel.load(name)
            elif tool == "rmmod":
                kernel.unload(name)
            else:
                _remove_with_dependents(name)
        except kernel.Refused as refusal:
            print(f"{tool}: {refusal}", file=sys.stderr)
            return 1
    return 0


def _remove_with_dependents(name: str) -> None:
    """`modprobe -r`: what the soft dependency brought goes first, a module that is not loaded is no error."""
    loaded = machine.state()["modules"]
    if name == "nvidia" and "nvidia_uvm" in loaded:
        kernel.unload("nvidia_uvm")
    if name in loaded:
        try:
            kernel.unload(name)
        except kernel.Refused as refusal:
            raise kernel.Refused(str(refusal).replace("ERROR:", "FATAL:").split(" by:")[0] + ".") from None


def _real(tool: str, arguments: list[str]) -> int:
    for directory in ("/usr/sbin", "/sbin"):
        real = Path(directory) / f"{tool}.real"
        if real.exists():
            # kmod looks at its own name to know which tool it is.
            os.execv(os.path.realpath(real), [tool, *arguments])
    print(f"{tool}: the real tool is not installed here", file=sys.stderr)
    return 127
