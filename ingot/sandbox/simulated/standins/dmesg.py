"""Simulated: dmesg of a test host, which has no kernel of its own: the lines that a test put there."""

import sys

from . import machine


def main(arguments: list[str]) -> int:
    """Print the host's kernel log; options are accepted and change nothing."""
    del arguments
    sys.stdout.write("".join(f"{line}\n" for line in machine.hardware()["kernel_log"]))
    return 0
