"""Hosts give each other parts of files: all of them have a model soon after one has it, and no peer is trusted."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from ingot.operations.weights import models, peers
from ingot.operations.weights.peers import Peer
from ingot.operations.weights.swarm_on_host import NAME, PIECES, Swarm, near, piece_length, priorities
from ingot.secrets import pki
from tests.operations.weights.swarm import SERVER, Hub, Member, listed
from tests.operations.weights.test_models import wanted

pytestmark = pytest.mark.cache

SCRIPT = models.SCRIPT.replace("turn_s=1", "turn_s=0.3").replace("-3 seconds", "-2 seconds")
FILES = {"config.json": b"{}"} | {f"model-{index}-of-3.safetensors": os.urandom(2_500_000) for index in range(1, 4)}
SHARDS = len(FILES) - 1


@pytest.fixture
def ca(tmp_path: Path) -> pki.Authority:
    return pki.authority(tmp_path / "secrets")


@pytest.fixture
def fleet() -> Iterator[Callable[[int], list[Member]]]:
    """So many hosts with two ports each; whatever they started ends with the test."""
    with tempfile.TemporaryDirectory(prefix="ingot-swarm-") as made:
        Path(made).chmod(0o755)
        members: list[Member] = []

        def of(count: int) -> list[Member]:
            free = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 * count)]
            ports = [one.getsockname()[1] for one in free]
            for index in range(count):
                home = Path(made) / str(index)
                (home / "at-work").mkdir(parents=True)
                members.append(Member(index, home, ports[2 * index], swarm_port=ports[2 * index + 1]))
            for one in free:
                one.close()
            return members

        yield of
        for member in members:
            member.dies()


def test_each_host_gets_parts_from_all_and_nothing_comes_from_outside(fleet, ca: pki.Authority):
    hub, (has, *others) = Hub(FILES), (members := fleet(4))
    has.holds(FILES)
    for one in members:
        one.serve(ca, swarm=members)
    for one in others:
        one.fetch(members, hub.url, FILES, SCRIPT)
    assert [one.ended() for one in others] == [""] * 3
    assert all(one.has(FILES) and _log(one).count("by swarm: ") == SHARDS for one in others)
    assert hub.sent == 0
    for one in others:
        assert not list(one.root.rglob("*.swarm")), "nothing is left over"
        assert {path.stat().st_uid for path in one.target.iterdir()} == {os.getuid()}
        assert not _writable(one), "whoever moved the bytes cannot change them"
    # What its server has taken before, and gives: wanted again, it comes again.
    lacks = others[0]
    shutil.rmtree(lacks.target)
    shutil.rmtree(lacks.home / "work")
    lacks.fetch(members, hub.url, FILES, SCRIPT)
    assert lacks.ended() == "" and lacks.has(FILES) and hub.sent == 0
    assert _log(lacks).count("by swarm: ") == 2 * SHARDS


def test_one_copy_comes_from_outside_where_nobody_has_it(fleet, ca: pki.Authority):
    hub, members = Hub(FILES, in_all_per_s=8e6), fleet(3)
    for one in members:
        one.serve(ca, swarm=members)
    for one in members:
        one.fetch(members, hub.url, FILES, SCRIPT)
    assert [one.ended() for one in members] == [""] * 3
    assert all(one.has(FILES) for one in members)
    assert hub.copies() <= 1.1
    assert sum(_log(one).count("by swarm: ") for one in members) == 2 * SHARDS


def test_if_the_one_that_has_it_dies_in_the_middle_the_others_go_on(fleet, ca: pki.Authority):
    hub, (has, *others) = Hub(FILES), (members := fleet(3))
    has.holds(FILES)
    has.serve(ca, swarm=members, bytes_per_s=500_000)
    for one in others:
        one.serve(ca, swarm=members)
    for one in others:
        one.fetch(members, hub.url, FILES, SCRIPT)
    _until(lambda: all(_came(one) > 500_000 for one in others))
    has.dies()
    assert [one.ended() for one in others] == ["", ""]
    assert all(one.has(FILES) for one in others)
    assert hub.copies() <= 1.1, "\n".join(map(_log, others))


def test_what_came_before_a_kill_counts_afterwards(fleet, ca: pki.Authority):
    hub, (has, lacks) = Hub(FILES), (members := fleet(2))
    has.holds(FILES)
    server = has.serve(ca, swarm=members, bytes_per_s=500_000)
    lacks.serve(ca, swarm=members)
    lacks.fetch(members, hub.url, FILES, SCRIPT)
    _until(lambda: _came(lacks) > 500_000)
    lacks.dies()
    server.kill()
    server.wait()
    before = _came(lacks)
    has.serve(ca, swarm=members)
    lacks.serve(ca, swarm=members)
    shutil.rmtree(lacks.home / "work")
    lacks.fetch(members, hub.url, FILES, SCRIPT)
    assert lacks.ended() == "" and lacks.has(FILES)
    assert hub.sent == 0 and before > 500_000


def test_a_host_without_the_library_takes_whole_files(fleet, ca: pki.Authority, tmp_path: Path):
    hub, (has, lacks, bare) = Hub(FILES), (members := fleet(3))
    has.holds(FILES)
    has.serve(ca, swarm=members)
    lacks.serve(ca, swarm=members)
    # A copy of the server that finds no swarm beside it.
    alone = shutil.copy(SERVER, tmp_path)
    bare.serve(ca, swarm=members, script=str(alone))
    # One after the other: a file that the bare one has already may come from it, whole.
    for one in (lacks, bare):
        one.fetch(members, hub.url, FILES, SCRIPT)
        assert one.ended() == "" and one.has(FILES)
    assert hub.sent == 0
    assert [_log(one).count("by swarm: ") for one in (lacks, bare)] == [SHARDS, 0]


def test_a_swarm_whose_port_is_shut_is_said_and_files_come_whole(fleet, ca: pki.Authority):
    hub, (has, lacks) = Hub(FILES), (members := fleet(2))
    has.holds(FILES)
    has.serve(ca, swarm=members)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lacks.serve(ca, swarm=[replace(has, swarm_port=port), lacks])
    lacks.fetch(members, hub.url, FILES, SCRIPT, swarm_port=port, serving=[has.name])
    assert lacks.ended() == (
        f"gpu-01: no connection to port {port} (cache_swarm_port) of gpu-00, in a swarm there; large files come whole "
        f"from one host each instead; open TCP port {port} between the hosts"
    )
    assert lacks.has(FILES) and hub.sent == 0 and "by swarm: " not in _log(lacks)


def test_a_host_whose_port_another_program_has_is_in_no_swarm(fleet, ca: pki.Authority):
    (host,) = members = fleet(1)
    with socket.create_server(("0.0.0.0", host.swarm_port)):
        host.serve(ca, swarm=members)
    assert not (host.home / "swarm.sock").exists()


def test_a_peer_with_other_bytes_is_found_at_the_file_and_named(fleet, ca: pki.Authority):
    hub, (bad, host) = Hub(FILES), (members := fleet(2))
    name = "model-2-of-3.safetensors"
    bad.holds(FILES | {name: FILES[name][:-1] + b"?"})
    for one in members:
        one.serve(ca, swarm=members)
    host.fetch(members, hub.url, FILES, SCRIPT)
    said = host.ended()
    assert f"gpu-01: {name} of peer gpu-00 has sha256 " in said
    assert said.endswith(f"{name} was fetched from outside instead")
    assert host.has(FILES) and hub.sent == len(FILES[name])
    assert "by swarm: model-1" in _log(host)


def test_a_limit_holds_for_what_a_swarm_brings(fleet, ca: pki.Authority):
    hub, (has, lacks) = Hub(FILES), (members := fleet(2))
    has.holds(FILES)
    has.serve(ca, swarm=members)
    lacks.serve(ca, swarm=members, bytes_per_s=2_000_000)
    began = time.monotonic()
    lacks.fetch(members, hub.url, FILES, SCRIPT)
    assert lacks.ended() == "" and lacks.has(FILES)
    # 7.5 MB, of which a second's worth may come at once.
    assert time.monotonic() - began > 2.5


def test_progress_counts_what_a_swarm_has_brought_and_no_holes(tmp_path: Path):
    wanted_ = wanted(tmp_path)
    incomplete = Path(f"{wanted_.target}.incomplete")
    incomplete.mkdir(parents=True)
    (incomplete / "a.safetensors").write_bytes(bytes(3_000_000))
    with (incomplete / "b.safetensors.swarm").open("wb") as part:
        part.write(os.urandom(2_100_000))
        part.truncate(50_000_000)
    snippet = models.progress(wanted_, listed({"a": b""}))
    line = ["sh", "-c", snippet, "progress", str(tmp_path)]
    said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert ": 5 of " in said, said


@pytest.mark.parametrize("whose", ["the fleet", "another fleet", "a gateway"])
def test_a_stranger_gets_no_byte(fleet, ca: pki.Authority, tmp_path: Path, whose: str):
    has, host = members = fleet(2)
    has.holds(FILES)
    has.serve(ca, swarm=members)
    path = has.target / "model-1-of-3.safetensors"
    pem = {
        "the fleet": lambda: pki.of_a_day(ca, [host.name]),
        "another fleet": lambda: pki.of_a_day(pki.authority(tmp_path / "elsewhere"), [host.name]),
        "a gateway": lambda: pki.of_a_bundle(ca, [host.name]),
    }[whose]()
    takes = Swarm(host.swarm_port, pem.encode(), ca.certificate_pem, 1, [(has.address, has.swarm_port)])
    text = _digests(has, path, ca)
    part = tmp_path / "part"
    part.touch()
    why = takes.fetch(text, part, path.stat().st_size, has.address, lambda: False)
    if whose == "the fleet":
        assert why == "" and part.read_bytes() == path.read_bytes()
    else:
        assert why.startswith("no byte came for ") and not part.read_bytes().strip(b"\0")


def test_only_the_list_of_one_file_of_the_fleet_is_taken(ca: pki.Authority, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(300_000))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    swarm = Swarm(port, pki.of_a_day(ca, ["gpu-01"]).encode(), ca.certificate_pem, 0, [])
    _until(lambda: bool(swarm.digests(file)))
    text = swarm.digests(file)
    whole = lt.bdecode(text)
    info = whole[b"info"]

    def refused(text: bytes, size: int = 300_000) -> bool:
        return swarm.fetch(text, tmp_path / "absent", size, "", lambda: True) == "no list of digests of this file"

    assert refused(text, 300_001) and refused(b"") and refused(b"de") and refused(b"{}")
    for change in (
        {b"name": b"../../etc"},
        {b"ssl-cert": pki.authority(tmp_path / "elsewhere").certificate_pem.encode()},
        {b"piece length": 1 << 14},
        {b"meta version": 1},
        {b"file tree": {**info[b"file tree"], b"more": info[b"file tree"][NAME.encode()]}},
        {b"file tree": {NAME.encode(): {b"below": info[b"file tree"][NAME.encode()]}}},
    ):
        assert refused(bytes(lt.bencode({**whole, b"info": {**info, **change}}))), change


def test_hosts_that_begin_together_take_different_pieces_first():
    for own in range(8):
        assert [piece for piece, one in enumerate(priorities(80, own, 8)) if one == 7] == list(range(own, 80, 8))
    assert min(priorities(80, 3, 8)) >= 1, "each piece is taken at some time"
    assert priorities(3, 1, 200) == [2, 7, 6]


def test_a_list_stays_short_whatever_the_size():
    assert piece_length(1) == piece_length(3_000_000) == 1 << 16
    assert piece_length(5_000_000_000) == 1 << 19
    assert all(size / piece_length(size) <= PIECES for size in (10**9, 10**11, 10**12))


def test_a_host_finds_some_and_is_found_by_the_rest():
    assert near(7) == list(range(7))
    assert near(199) == [*range(16), 32, 64, 128]
    hosts = 200
    reached = {0}
    for _ in range(20):
        reached |= {(one + 1 + step) % hosts for one in reached for step in near(hosts - 1)}
    assert len(reached) == hosts


def test_a_server_is_told_of_the_swarm_only_where_a_port_is_set():
    three = [Peer(index, f"gpu-{index}", f"10.0.0.{index}") for index in range(3)]
    values = _Values(8445, 50)
    assert peers.swarm_words(values, three, "gpu-1") == ["8445", "50000000", "1", "10.0.0.2,8445", "10.0.0.0,8445"]
    assert peers.swarm_words(_Values(None, None), three, "gpu-1") == []


@pytest.mark.parametrize(("status", "said"), [(0, ""), (1, "gpu-01: apt-get cannot install it; see log there")])
def test_a_host_whose_sources_lack_the_library_goes_on_and_says_so(tmp_path: Path, status: int, said: str):
    (tmp_path / "packages.sh").write_text(f'[ {status} = 0 ] || echo "{said}" >"$1/sentence"\nexit {status}\n')
    done = subprocess.run(["sh", "-c", peers.INSTALL, "run.sh", str(tmp_path), "log"], check=False)
    sentence = tmp_path / "sentence"
    assert done.returncode == 0 and sentence.exists() == bool(said)
    if said:
        assert sentence.read_text() == f"{said}; this host takes and gives whole files, without a swarm\n"


class _Values:
    def __init__(self, port: int | None, bandwidth: int | None) -> None:
        self.cache_swarm_port, self.cache_bandwidth_mb_s = port, bandwidth


def _digests(member: Member, path: Path, ca: pki.Authority) -> bytes:
    """The list of digests of a file, which its host gives away from the first question on."""
    context = ssl.create_default_context(cadata=ca.certificate_pem)
    context.check_hostname = False
    context.load_cert_chain(member.home / "peer.pem")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        asks = http.client.HTTPSConnection(member.address, member.port, context=context, timeout=60)
        asks.request("GET", f"/{path.relative_to(member.root)}?digests")
        answer = asks.getresponse()
        if answer.status == 200:
            return answer.read()
    raise AssertionError(path)


def _came(member: Member) -> int:
    """Bytes of its shards that are on its disk, finished or not: it only grows."""
    return sum(map(_on_disk, member.root.rglob("model-*")))


def _on_disk(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _log(member: Member) -> str:
    return (member.home / "log").read_text()


def _writable(member: Member) -> list[str]:
    """Files of models that its server could still write to."""
    pid = member.processes[0].pid
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            to = str(one.readlink())
            flags = Path(f"/proc/{pid}/fdinfo/{one.name}").read_text().split("flags:\t")[1].split()[0]
        except FileNotFoundError:
            # Closed meanwhile.
            continue
        if to.startswith(str(member.root)) and int(flags, 8) & 3:
            found.append(to)
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return found + [line for line in maps if str(member.root) in line and line.split()[1][1] == "w"]


def _until(true: Callable[[], bool], limit_s: float = 180) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
