"""The place for request bodies: its size, when it is mounted, and what nginx and the timer are told of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.facts.gateway import BODIES
from ingot.operations import changes, tree
from ingot.operations.gateway import bodies
from tests.gateway.test_site import answers, parse_gateway_host

pytestmark = [pytest.mark.gateway, pytest.mark.clients]

ROOM = 1 << 30


def texts(*ports: int) -> dict[str, str]:
    return {one.path: str(one.content) for one in bodies.entries(ROOM, ports) if isinstance(one, tree.File)}


def test_it_is_mounted_only_where_its_size_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "announce", lambda _: None)
    assert list(bodies.mount(ROOM, ROOM)) == []
    for found in (None, ROOM // 2):
        (command,) = bodies.mount(found, ROOM)
        assert f"size={ROOM}" in str(command) and BODIES in str(command)


@pytest.mark.parametrize(("said", "found"), [("1073741824\n", ROOM), ("", None), ("tmpfs", None)])
def test_its_size_is_read_from_the_host(said: str, found: int | None) -> None:
    assert parse_gateway_host(answers(bodies=said)).body_room_bytes == found


def test_nginx_mounts_it_whenever_it_starts() -> None:
    said = texts(443)[bodies.UNIT]
    assert f"size={ROOM},mode=0700,nosuid,nodev,noexec" in said and said.count("ExecStartPre=+/bin/sh -c '") == 1


#: What `ss -HOtino` says of two callers at three looks: bytes received and sent.
LOOKS = {
    "a byte at a time": ((600, 0), (623, 0), (646, 0)),
    "waits for its answer": ((600, 0), (600, 0), (600, 0)),
    "reads a stream": ((600, 900), (623, 9000), (646, 90000)),
    "sends at a fair rate": ((600, 0), (900_000, 0), (1_800_000, 0)),
    "asked just now": ((600, 0), (1200, 0), (1200, 0)),
}


@pytest.mark.parametrize(("case", "ended"), [(case, case == "a byte at a time") for case in LOOKS])
def test_only_an_upload_that_trickles_is_ended(tmp_path: Path, case: str, ended: bool) -> None:
    """The script itself, with a stand-in for ss."""
    script = texts(443)[bodies.SCRIPT].replace("/run/ingot", str(tmp_path)).replace("export LC_ALL", ": LC_ALL")
    (tmp_path / "ss").write_text(
        '#!/bin/sh\ncase $1 in -K) echo "$*" >>"$(dirname "$0")/ended" ;; *) cat "$(dirname "$0")/look" ;; esac\n'
    )
    (tmp_path / "ss").chmod(0o755)
    for received, sent in LOOKS[case]:
        row = f"0 0 10.0.0.1:443 10.0.0.2:40000 cubic bytes_sent:{sent} bytes_acked:1 bytes_received:{received}\n"
        (tmp_path / "look").write_text(row)
        path = f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"
        subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, timeout=180)
    told = (tmp_path / "ended").read_text() if (tmp_path / "ended").exists() else ""
    assert told == ("-K state established src 10.0.0.1:443 dst 10.0.0.2:40000\n" if ended else "")


def test_every_port_of_callers_is_looked_at() -> None:
    assert "( sport = :443 or sport = :8442 )" in texts(443, 8442)[bodies.SCRIPT]
