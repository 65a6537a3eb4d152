"""No input text makes a parser raise anything but its own error."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingot.facts.apt_sources import AptSources, parse_apt_sources
from ingot.facts.cdi import Cdi, parse_docker, parse_spec
from ingot.facts.disks import parse_lsblk
from ingot.facts.dmi import parse_chassis, parse_memory_modules
from ingot.facts.driver import (
    Driver,
    parse_dkms_failed,
    parse_kernels,
    parse_library,
    parse_os_release,
    parse_packages,
    parse_running,
    parse_users,
)
from ingot.facts.errors import ParseError
from ingot.facts.hardware import HardwareLook, parse_cpu
from ingot.facts.host import HostLook, parse_listeners, parse_spaces
from ingot.facts.kernel_log import parse_kernel_log
from ingot.facts.nics import parse_infiniband, parse_nics
from ingot.facts.nvidia import Gpus, parse_memory
from ingot.facts.nvlink import parse_nvlink
from ingot.facts.packages import parse_installed, parse_keyrings
from ingot.facts.paths import parse_paths
from ingot.facts.pci import parse_lspci, parse_sysfs
from ingot.facts.pci_link import parse_links
from ingot.facts.peer_access import parse_peer_access
from ingot.facts.replay import combine, read
from ingot.facts.sections import split
from ingot.facts.smi_fault import from_message
from ingot.facts.smi_headless import parse_headless
from ingot.facts.smi_list import parse_list
from ingot.facts.smi_query import bus_id, parse_query
from ingot.facts.smi_xml import parse_xml
from ingot.facts.topology import parse_topology
from ingot.facts.xid import parse_switch_errors, parse_xids
from tests.facts.captures import SECOND, capture, names

pytestmark = pytest.mark.driver

PARSERS: dict[str, Callable[[str], Any]] = {
    "query": parse_query,
    "list": parse_list,
    "xml": parse_xml,
    "topology": parse_topology,
    "lspci": parse_lspci,
    "sysfs": parse_sysfs,
    "message": from_message,
    "xids": parse_xids,
    "switch errors": parse_switch_errors,
    "kernel log": parse_kernel_log,
    "links": parse_nvlink,
    "peer access": parse_peer_access,
    "headless": parse_headless,
    "bus id": bus_id,
    "memory": parse_memory,
    "running": parse_running,
    "kernels": parse_kernels,
    "packages": parse_packages,
    "library": parse_library,
    "dkms": parse_dkms_failed,
    "users": parse_users,
    "os-release": parse_os_release,
    "spaces": parse_spaces,
    "listeners": parse_listeners,
    "spec": parse_spec,
    "docker": parse_docker,
    "apt sources": lambda text: parse_apt_sources(f"@file a.list\n{text}\n@file b.sources\n{text}"),
    "installed": parse_installed,
    "keyrings": parse_keyrings,
    "paths": lambda text: parse_paths(text, text, text),
    "sections": lambda text: split(text.splitlines()),
    "replay": read,
    "lsblk": parse_lsblk,
    "lsblk devices": lambda text: parse_lsblk(
        json.dumps({"blockdevices": [{"name": text, "size": text, "type": "disk"}]})
    ),
    "nics": parse_nics,
    "infiniband": parse_infiniband,
    "pcie links": parse_links,
    "cpu": lambda text: parse_cpu(text, text),
    "memory modules": parse_memory_modules,
    "chassis": parse_chassis,
}
#: Facts must not even raise that: one host's nonsense would stop every host.
FACTS = (Gpus, Driver, HostLook, HardwareLook, Cdi, AptSources)

CAPTURES = [capture(name) for name in names("*")] + [path.read_text("utf-8") for path in sorted(SECOND.iterdir())]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A real capture cut, doubled, overwritten or joined with another at any place."""
    text = draw(st.sampled_from(CAPTURES))[:6000]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        until = draw(st.integers(at, min(at + 80, len(text))))
        put = draw(
            st.sampled_from(
                ["", ",", "\n", "\t", "[N/A]", "[GPU is lost]", "-1", "9" * 30, "GPU0", "<", "\x1b[4m", "٣", "X"]
            )
            | st.text(max_size=8)
            | st.sampled_from(CAPTURES).map(lambda other: other[:200])
        )
        text = text[:at] + put + text[until:]
    return text


@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(text=damaged() | st.text(max_size=300))
def test_a_parser_raises_its_own_error_only(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except ParseError as error:
        assert str(error)
        assert "\n" not in str(error)


@QUICK
@given(texts=st.lists(damaged(), max_size=4))
def test_whatever_files_are_replayed_together_become_json_or_one_sentence(texts: list[str]) -> None:
    readings = []
    for text in texts:
        try:
            readings.append(read(text))
        except ParseError:
            continue
    json.dumps([*(one.values for one in readings), combine(readings)])


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
@QUICK
@given(data=st.data())
def test_a_fact_returns_whatever_a_host_prints(fact: type, data: st.DataObject) -> None:
    questions = ["smi_query", "smi_list", "smi_topology", "smi_xml", "memory", "pci", "machine", "clock", "cdi_docker"]
    questions += ["apt_sources", "driver_running", "driver_kernels", "os_release", "secure_boot", "cdi_refreshed"]
    lines = []
    for question in data.draw(st.lists(st.sampled_from(questions), unique=True)):
        status = data.draw(st.sampled_from([0, 1, 9, 15, 18, 124, 255]))
        lines += [f"@@ingot-begin {question}", *data.draw(damaged()).splitlines(), f"@@ingot-end {question} {status}"]
    fact().process(lines[: data.draw(st.integers(0, len(lines)))])
