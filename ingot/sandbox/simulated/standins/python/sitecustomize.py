"""Simulated: gives the burn-in, and no other program in a container, a torch that sees the simulated GPUs."""

import sys

if any(word.endswith("burnin.py") for word in sys.orig_argv):
    sys.path.insert(0, "/usr/lib/ingot-simulated")
    from standins import cuda  # type: ignore[import-not-found]

    cuda.install()
