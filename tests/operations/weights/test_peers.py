"""Hosts give each other their models: one copy comes from outside, and no peer is trusted."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.operations.weights import models, peers
from ingot.operations.weights.peer_on_host import Handler, Turns
from ingot.operations.weights.peers import Peer
from ingot.secrets import pki
from tests.operations.weights import many_hosts
from tests.operations.weights.swarm import Hub, Member

pytestmark = pytest.mark.cache

#: Waits are shorter than on hosts, so that the tests are; their order is the same.
SCRIPT = models.SCRIPT.replace("turn_s=1", "turn_s=0.3").replace("-3 seconds", "-2 seconds")
FILES = {"config.json": b"{}"} | {f"model-{index}-of-6.safetensors": os.urandom(700_000) for index in range(1, 7)}


@pytest.fixture
def ca(tmp_path: Path) -> pki.Authority:
    return pki.authority(tmp_path / "secrets")


@pytest.fixture
def fleet() -> Iterator[Callable[[int], list[Member]]]:
    """So many hosts, each with a port; whatever they started ends with the test."""
    # A server gives up root's rights, and reads below this as anybody may.
    with tempfile.TemporaryDirectory(prefix="ingot-peers-") as made:
        Path(made).chmod(0o755)
        members: list[Member] = []

        def of(count: int) -> list[Member]:
            sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
            for index, one in enumerate(sockets):
                home = Path(made) / str(index)
                (home / "at-work").mkdir(parents=True)
                members.append(Member(index, home, one.getsockname()[1]))
                one.close()
            return members

        yield of
        for member in members:
            member.dies()


def test_one_copy_comes_from_outside_and_every_host_has_all_of_it(fleet, ca: pki.Authority):
    hub, members = Hub(FILES, in_all_per_s=4e6), fleet(4)
    for one in members:
        one.serve(ca)
    for one in members:
        one.fetch(members, hub.url, FILES, SCRIPT)
    assert [one.ended() for one in members] == [""] * 4
    assert all(one.has(FILES) for one in members)
    assert hub.copies() <= 1.1


def test_a_host_that_has_it_gives_it_and_nothing_comes_from_outside(fleet, ca: pki.Authority):
    hub, (has, lacks, away) = Hub(FILES), (members := fleet(3))
    has.holds(FILES)
    has.serve(ca)
    lacks.serve(ca)
    lacks.fetch([has, lacks, away], hub.url, FILES, SCRIPT)
    assert lacks.ended() == "" and lacks.has(FILES) and members
    assert hub.sent == 0


def test_if_the_host_that_fetches_dies_another_one_goes_on(fleet, ca: pki.Authority):
    hub, members = Hub(FILES, in_all_per_s=1.5e6), fleet(3)
    first, *others = members
    first.serve(ca)
    first.fetch(members, hub.url, FILES, SCRIPT)
    _until(lambda: hub.copies() > 0.2)
    for one in others:
        one.serve(ca)
        one.fetch(members, hub.url, FILES, SCRIPT)
    _until(lambda: any(list(one.home.glob("models/**/*.safetensors")) for one in others) or hub.copies() > 0.7)
    first.dies()
    assert [one.ended() for one in others] == ["", ""]
    assert all(one.has(FILES) for one in others)
    assert hub.copies() <= 2.1, "what died with the first, and one copy"


def test_a_peer_that_sends_other_bytes_is_found_at_the_file_and_named(fleet, ca: pki.Authority):
    hub, (bad, host) = Hub(FILES), fleet(2)
    name = "model-3-of-6.safetensors"
    wanted = hashlib.sha256(FILES[name]).hexdigest()
    bad.holds(FILES | {name: FILES[name][:-1] + b"?"})
    bad.serve(ca)
    host.serve(ca)
    host.fetch([bad, host], hub.url, FILES, SCRIPT)
    said = host.ended()
    assert f"gpu-01: {name} of peer gpu-00 has sha256 " in said
    assert said.endswith(f", expected {wanted}; {name} was fetched from outside instead")
    assert host.has(FILES) and hub.sent == len(FILES[name])
    assert [one.name for one in (host.root / ".quarantine").glob("*part")]


@pytest.mark.parametrize("others", [True, False], ids=["others have it", "nobody else has it"])
def test_a_port_that_is_shut_is_said_with_what_happens_instead(fleet, ca: pki.Authority, others: bool):
    hub, (host, shut, _, open_) = Hub(FILES), (members := fleet(4))
    host.serve(ca)
    if others:
        open_.holds(FILES)
        open_.serve(ca)
    # Of the third nobody knows that it serves: it may be off.
    host.fetch(members, hub.url, FILES, SCRIPT, serving=[shut.name, open_.name] if others else [shut.name])
    assert host.ended() == (
        f"gpu-00: no connection to port {shut.port} (cache_peer_port) of gpu-01, serving models there; other hosts or "
        f"the sources are asked instead; open TCP port {shut.port} between the hosts"
    )
    assert host.has(FILES) and hub.copies() == (0 if others else 1)


def test_what_fails_names_the_ports_that_are_shut(fleet, ca: pki.Authority):
    hub, (host, shut) = Hub({}), fleet(2)
    host.serve(ca)
    script = SCRIPT.replace("attempts=6", "attempts=1")
    host.fetch([host, shut], hub.url.replace("http:", "file:"), FILES, script, serving=[shut.name])
    assert host.processes[-1].wait(timeout=60) == 1
    said = (host.home / "work/sentence").read_text()
    assert "could not fetch file:" in said and said.count("\n") == 1
    assert said.endswith(f"open TCP port {shut.port} between the hosts\n")


def test_who_was_reached_or_may_have_ended_is_not_said_to_be_shut(tmp_path: Path):
    def of(script: str) -> str:
        begin, end = script.index("# What curl says of a peer"), script.index("# One request to a peer")
        return script[begin:end]

    (tmp_path / "plan").write_text("serves\tgpu-01\nserves\tgpu-02\nserves\tgpu-03\nserves\tgpu-04\n")
    (tmp_path / "notes").mkdir()
    head = f"tab=$(printf '\\t') work={tmp_path} shut={tmp_path}/shut error={tmp_path}/error; : >$error\n"
    none = "answer='000 0.000000'; (exit 7)"
    asked = f"""
answer='404 0.010000'; (exit 22); heard peer gpu-01 8444
{none}; heard peer gpu-01 8444
{none}; heard peer gpu-09 8444
answer='000 0.010000'; (exit 28); heard peer gpu-02 8444
answer='000 0.010000'; (exit 60); heard peer gpu-02 8444
echo 'curl: (28) Resolving timed out after 3000 milliseconds' >$error; answer='000 0.000000'; (exit 28)
heard peer gpu-02 8444
: >$error; {none}; heard peer gpu-03 8444; answer='200 0.010000'; true; heard peer gpu-03 8444
"""

    def said(script: str) -> list[str]:
        subprocess.run(["sh", "-uc", f"{head}{script}say_shut"], check=True, timeout=60)
        texts = [one.read_text() for one in (tmp_path / "notes").iterdir()]
        (tmp_path / "notes/port-peer").unlink(missing_ok=True)
        return texts

    assert said(of(models.SCRIPT) + asked) == []
    old = of(models.SCRIPT).replace("-cmin -4", "-cmin +4")
    assert said(f"{old}{none}; heard peer gpu-04 8444\n") == []
    shut = f"{of(models.SCRIPT)}{none}; heard peer gpu-05 8444; (exit 28); heard peer gpu-04 8444\n"
    (one,) = said(shut)
    assert " of gpu-04, serving " in one
    assert said(shut) == [], "once in a run"


def test_a_peer_that_promises_and_never_gives_is_not_waited_for_without_end(fleet, ca: pki.Authority):
    hub, (promises, host) = Hub(FILES), fleet(2)
    at_work = promises.home / "at-work" / hashlib.sha256(str(promises.target).encode()).hexdigest()
    at_work.with_suffix(".leads").touch()
    with at_work.with_suffix(".wants").open("w") as wants:
        fcntl.flock(wants, fcntl.LOCK_EX)
        promises.serve(ca)
        host.serve(ca)
        host.fetch([promises, host], hub.url, FILES, SCRIPT.replace("promise_s=3600", "promise_s=2"))
        assert host.ended() == "" and host.has(FILES)
    assert hub.copies() == 1


def test_a_stranger_gets_nothing(fleet, ca: pki.Authority, tmp_path: Path):
    (host,) = fleet(1)
    host.holds(FILES)
    host.serve(ca)
    other = tmp_path / "other.pem"
    other.write_text(pki.of_a_day(pki.authority(tmp_path / "elsewhere"), [host.name]))
    old = tmp_path / "old.pem"
    old.write_text(pki.of_a_day(ca, [host.name], datetime.now(UTC) - timedelta(days=2)))
    gateway = tmp_path / "gateway.pem"
    gateway.write_text(_of_a_gateway(ca, tmp_path))
    path = f"{host.target.relative_to(host.root)}/config.json"
    assert _asked(host, path, host.home / "peer.pem") == ("200", "{}")
    for certificate in (None, other, old, gateway):
        assert _asked(host, path, certificate) == ("000", ""), certificate


def test_a_server_gives_model_files_and_nothing_else(fleet, ca: pki.Authority):
    (host,) = fleet(1)
    host.holds(FILES)
    host.serve(ca)
    (host.root / "theirs").mkdir()
    (host.root / "theirs/file").write_text("secret")
    (host.target / "half.safetensors.part").write_text("half")
    (host.target / "link.json").symlink_to("/etc/passwd")
    below = str(host.target.relative_to(host.root))
    pem = host.home / "peer.pem"
    for path in ("theirs/file", f"{below}/half.safetensors.part", f"{below}/link.json", f"{below}/.ingot-made",
                 f"{below}/../../../../peer.pem", f"{below}/%2e%2e/x", "", "etc/passwd"):  # fmt: skip
        assert _asked(host, path, pem) == ("404", ""), path


def test_a_directory_that_gets_its_name_while_it_is_asked_for_is_found_by_that(tmp_path: Path):
    coming, there = tmp_path / "model.incomplete", tmp_path / "model"
    coming.mkdir()
    (coming / "shard").write_bytes(b"weights")

    def found(path: str) -> tuple[int, Path]:
        seen = coming if coming.exists() else there
        if seen is coming:
            coming.rename(there)
        return 200, seen / "shard"

    asked: Any = Handler.__new__(Handler)
    asked.server = SimpleNamespace(found=found, swarm=None, turns=Turns(1), asked_at=0)
    asked.path, asked.requestline, asked.request_version = "/model/shard", "GET", "HTTP/1.1"
    asked.headers, asked.wfile = {}, io.BytesIO()
    asked.do_GET()
    assert asked.wfile.getvalue().startswith(b"HTTP/1.1 200 ")
    assert asked.wfile.getvalue().endswith(b"\r\n\r\nweights")


def test_a_server_ends_when_nobody_asks(fleet, ca: pki.Authority):
    (host,) = fleet(1)
    assert host.serve(ca, idle_s=0.5).wait(timeout=180) == 0


def test_a_certificate_is_for_a_day_and_within_the_scope_of_the_ca(tmp_path: Path):
    with pytest.raises(IngotError, match="cannot sign for gpu-01"):
        pki.of_a_day(pki.authority(tmp_path, ["corp.example"]), ["gpu-01"])


def test_of_those_who_wait_who_wants_what_was_given_least_is_sent_it_next():
    turns, order = Turns(1), []
    turns.given.update({"a": 2, "b": 1})

    def asks(path: str) -> None:
        with turns.turn(path, 60) as came:
            order.append((path, came))

    with turns.turn("a", 60) as came:
        assert came
        with turns.turn("a", 0.01) as late:
            assert not late, "nobody waits longer than it may"
        callers = [threading.Thread(target=asks, args=(path,)) for path in ("a", "b", "c")]
        for count, one in enumerate(callers, 1):
            one.start()
            _until(lambda count=count: len(turns.waiting) == count)  # type: ignore[misc]
    for one in callers:
        one.join(timeout=180)
    assert order == [("c", True), ("b", True), ("a", True)] and turns.free == 1


@pytest.mark.parametrize(
    ("round_", "leader", "asked"),
    [
        (0, "", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (0, "gpu-3", [1, 2, 4, 5, 6, 7, 8, 9, 3]),
        (1, "gpu-3", [8, 9, 1, 2, 4, 5, 3]),
        (2, "", [4, 5, 6, 7, 8, 9]),
    ],
)
def test_a_round_asks_everybody_once_then_some_in_turn_and_who_fetches_last(
    tmp_path: Path, round_: int, leader: str, asked: list[int]
):
    (tmp_path / "peers").write_text("".join(f"peer\t{one}\tgpu-{one}\t10.0.0.{one}\t8444\n" for one in range(1, 10)))
    function = models.SCRIPT[models.SCRIPT.index("asked_peers() {") :].partition("\n}\n")[0]
    values = f"tab=$(printf '\\t') several=6 swarm= work={tmp_path} round={round_} leader={leader}"
    script = f"{values}\n{function}\n}}\nasked_peers"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert [int(line.split("\t")[1]) for line in done.stdout.splitlines()] == asked


def test_each_host_asks_the_ones_after_it_first():
    three = [Peer(index, f"gpu-{index}", f"10.0.0.{index}") for index in range(3)]
    assert peers.plan_text(three, "gpu-1", 8444).splitlines() == [
        f"me\t1\t{peers.HOME}",
        "peer\t2\tgpu-2\t10.0.0.2\t8444",
        "peer\t0\tgpu-0\t10.0.0.0\t8444",
    ]
    assert peers.plan_text(three[:1], "gpu-0", 8444) == peers.plan_text(three, "elsewhere", 8444) == ""


def test_a_plan_names_the_run_and_who_serves_in_it():
    three = [Peer(index, f"gpu-{index}", f"10.0.0.{index}") for index in range(3)]
    text = peers.plan_text(three, "gpu-1", 8444, 8445, "2f", {"gpu-0", "gpu-1"})
    assert text.splitlines()[3:] == ["swarm\t8445", "run\t2f", "serves\tgpu-0"]


def test_that_a_server_answered_counts_for_a_while():
    run, now = peers.Sharing(), time.monotonic()
    run.answered = {"gpu-0": now, "gpu-1": now - peers.PROVEN_S}
    assert run.serving() == {"gpu-0"} and run.id != peers.Sharing().id


def _asked(host: Member, path: str, certificate: Path | None) -> tuple[str, str]:
    """The status and the text that curl gets; "000" for none."""
    line = ["curl", "-skq", "--path-as-is", "--max-time", "20", "-w", "\n%{http_code}"]
    given = ["--cert", str(certificate)] if certificate else []
    address = f"https://127.0.0.1:{host.port}/{path}"
    done = subprocess.run([*line, *given, address], capture_output=True, text=True, check=False, timeout=180)
    text, _, status = done.stdout.rpartition("\n")
    return status, text


def _of_a_gateway(ca: pki.Authority, directory: Path) -> str:
    """A gateway's certificate and key: of the same CA, and no caller's."""
    key, request = directory / "gateway.key", directory / "gateway.csr"
    line = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        request,
        "-subj",
        "/CN=g",
    ]
    subprocess.run(list(map(str, line)), check=True, capture_output=True, timeout=180)
    return pki.sign(ca, request.read_text(), ["gpu-00"]) + key.read_text()


def _until(true: Callable[[], bool], limit_s: float = 180) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_of_many_hosts_that_begin_at_once_one_fetches_from_outside(tmp_path: Path):
    copies, _ = many_hosts.outside(tmp_path, hosts=12, files=3)
    assert copies <= 1.1
