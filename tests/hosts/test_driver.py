"""The driver that is installed is the one that runs, and every GPU answers it."""

from __future__ import annotations

import re

from tests.hosts.look import Look
from tests.hosts.target import Target


def test_the_running_driver_is_the_installed_one(target: Target, look: Look) -> None:
    loaded = re.search(r"Kernel Module(?: for \S+)?\s+([\d.]+)", look.text("loaded"))
    target.expect(loaded, f"no NVIDIA module is loaded ({look.text('loaded')}); deploy, or reboot and look at dmesg")
    target.expect(
        loaded.group(1) == look.text("installed"),
        f"the kernel runs driver {loaded.group(1)}, {look.text('installed')} is installed; reboot",
    )


def test_every_gpu_on_the_bus_answers(target: Target, look: Look) -> None:
    on_bus = look.lines("pci")
    target.expect(on_bus, "no NVIDIA GPU on the PCI bus")
    target.expect(
        len(look.gpu_uuids) == len(on_bus),
        f"{len(on_bus)} GPUs on the PCI bus, {len(look.gpu_uuids)} answer: {look.text('smi')}",
    )


def test_every_gpu_is_driven_by_the_nvidia_module(target: Target, look: Look) -> None:
    others = [line for line in look.lines("pci") if not line.endswith(" nvidia")]
    target.expect(not others, f"driven by something else than nvidia: {', '.join(others)}; deploy and reboot")
