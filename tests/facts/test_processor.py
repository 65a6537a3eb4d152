"""A host's memory, cores and memory channels, read from one look."""

from __future__ import annotations

import subprocess

import pytest

from ingot.facts import sections
from ingot.facts.dmi import parse_memory_speeds
from ingot.facts.processor import HostProcessor, parse_processor
from ingot.facts.sections import Section
from ingot.sizing import Processor

pytestmark = pytest.mark.engines


def module(size_mib: int, speed: int, extended: int = 0) -> str:
    """An SMBIOS memory device (type 17, version 3.3) of a size and a configured speed."""
    raw = bytearray(0x5C)
    raw[0:2] = bytes((0x11, 0x5C))
    raw[0x0C:0x0E] = size_mib.to_bytes(2, "little")
    raw[0x20:0x22] = speed.to_bytes(2, "little")
    raw[0x58:0x5C] = extended.to_bytes(4, "little")
    return raw.hex()


def test_speeds_are_of_modules_that_are_plugged_in() -> None:
    lines = [module(16384, 2666), module(0, 3200), module(16384, 0), module(16384, 0xFFFF, 70000), "not hex"]
    assert parse_memory_speeds("\n".join(lines)) == (2666, 70000)


def test_channels_are_those_with_a_module_and_the_slowest_module_counts() -> None:
    found = {
        "memory_total": Section("8219082752"),
        "processor_cores": Section("6\n"),
        "memory_modules": Section("\n".join([module(16384, 2933), module(16384, 2666), module(0, 0)])),
        "memory_channels": Section("mc0 channel 0 slot 0\nmc0 channel 0 slot 1\nmc1 channel 0 slot 0 \n"),
    }
    assert parse_processor(found) == Processor(8219082752, cores=6, modules=2, speed=2666, channels=2)


def test_what_a_host_does_not_tell_is_zero() -> None:
    assert parse_processor({"processor_cores": Section("lscpu: command not found\n", 127)}) == Processor()


def test_this_machine_answers() -> None:
    done = subprocess.run(
        ["sh", "-c", HostProcessor().command()], capture_output=True, text=True, timeout=180, check=True
    )
    found = parse_processor(sections.split(done.stdout.splitlines()))
    assert found.memory_bytes > 1 << 28 and found.cores >= 1
