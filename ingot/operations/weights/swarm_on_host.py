"""One file to many hosts at once by libtorrent: each host gives the others what it has of it so far.

Peers are named, not found: no tracker, no DHT, no announcement. Every connection is TLS in which both sides show a
certificate of the day by Ingot's CA. What arrives is compared, piece by piece, with the list of digests (SHA-256) that
the host which had the whole file made of it; whether that file is the one that is wanted, models.sh proves afterwards.

Files are opened once and named to libtorrent by their descriptors: so they may be renamed while they are given away.
"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import libtorrent as lt

#: The name in certificates of the day (ingot/secrets/pki.py), and of each torrent: libtorrent asks for it.
NAME = "_ingot-peer"
OPENED = "/proc/self/fd"
#: Seconds without a byte more after which others are asked: where all who are here have it together, and where not.
STALL_S, LOST_S = 30.0, 5.0
#: Seconds between two attempts to reach those who are away.
AGAIN_S = 1.0
#: Of the others, in their order after this host, those that it connects to by itself: the next ones, then ever fewer.
NEAR = 16
#: Bytes of the smallest piece, and how many pieces a file has at most: so its list stays below a megabyte.
PIECE, PIECES = 1 << 16, 1 << 14
#: The highest priority that libtorrent knows; 0 would be not at all.
FIRST = 7
_SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
    "out_enc_policy": 2,
    "in_enc_policy": 2,
    # Everybody is sent something at all times: who is here belongs to the fleet.
    "unchoke_slots_limit": 1000,
    "connections_limit": 4000,
    "connection_speed": 200,
    "min_reconnect_time": 1,
    "max_failcount": 1000,
    "peer_connect_timeout": 5,
    "mixed_mode_algorithm": 0,
    "active_seeds": -1,
    "active_limit": -1,
    "tick_interval": 200,
    "request_queue_time": 1,
    "whole_pieces_threshold": 0,
    "alert_mask": 0,
}


def piece_length(size: int) -> int:
    """Bytes of a piece of a file: a power of two."""
    length = PIECE
    while size / length > PIECES:
        length *= 2
    return length


def priorities(pieces: int, own: int, hosts: int) -> list[int]:
    """How early a host takes each piece, 7 first: its own share before the next one's, and so on around.

    So those that begin together take different pieces from the one that has them, and each leaves it once.
    """
    away = ((piece - own) % hosts for piece in range(pieces))
    return [FIRST if not one else FIRST - 1 - (one - 1) * (FIRST - 2) // hosts for one in away]


def near(others: int) -> list[int]:
    """Which of the others a host connects to, counted from the one after it; it is found by the rest."""
    return [*range(min(NEAR, others)), *(one for one in (1 << bit for bit in range(5, 20)) if one < others)]


class Swarm:
    """The files that this host takes and gives, each a torrent.

    `pem` are certificate and key of the day, `ca` the CA's certificate; `own` is this host's place in the inventory,
    `others` are address and port of each other host, beginning with the one after it.
    """

    def __init__(
        self, port: int, pem: bytes, ca: str, own: int, others: Sequence[tuple[str, int]], bytes_per_s: int = 0
    ) -> None:
        self.ca, self.own, self.others = ca, own, others
        # libtorrent reads certificates by name, and this process will not be root any more.
        self.identity = os.memfd_create("peer")
        os.write(self.identity, pem)
        limits = {"upload_rate_limit": bytes_per_s, "download_rate_limit": bytes_per_s}
        listens = {"listen_interfaces": f"0.0.0.0:{port}s,[::]:{port}s"}
        self.session = lt.session({**_SETTINGS, **limits, **listens})
        # It would take another port, where nobody looks for it.
        if self.session.ssl_listen_port() != port:
            raise OSError(f"port {port} is taken")
        # Limits hold for neighbours, too.
        everybody = lt.ip_filter()
        for first, last in (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")):
            everybody.add_rule(first, last, 1 << lt.session.global_peer_class_id)
        self.session.set_peer_class_filter(everybody)
        self.lock = threading.Lock()
        #: Lists of digests by the file that they are of; empty while one is made.
        self.lists: dict[tuple[int, ...], bytes] = {}

    def is_busy(self) -> bool:
        """Whether bytes are moving, or were a moment ago."""
        states = [one.status() for one in self.session.get_torrents()]
        return any(one.upload_payload_rate + one.download_payload_rate > 0 for one in states)

    def digests(self, file: Path) -> bytes:
        """The list of digests of a whole file, which is given away from now on; empty while it is being made."""
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        key = _key(opened)
        with self.lock:
            if key in self.lists:
                os.close(opened)
                return self.lists[key]
            self.lists[key] = b""
        threading.Thread(target=self._gives, args=(opened, key), daemon=True).start()
        return b""

    def fetch(self, text: bytes, part: Path, size: int, giver: str, left: Callable[[], bool]) -> str:
        """Take a file, of which `giver` has all, into one that is there; "" once all of it came, else why not."""
        if not self._is_of(text, size):
            return "no list of digests of this file"
        before = self.session.find_torrent(lt.torrent_info(text).info_hashes().get_best())
        if before.is_valid() and not before.status().is_seeding:
            return "the same bytes are being taken for another file"
        if before.is_valid():
            # Taken or given before, and wanted again: that file is gone, for which libtorrent would bring nothing here.
            self.session.remove_torrent(before)
        opened = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        wanted = {self.others[one] for one in near(len(self.others))} | {o for o in self.others if o[0] == giver}
        places = [place for one in wanted if (place := _resolved(*one))]
        handle = self._added(text, opened, places)
        order = priorities(-(-size // piece_length(size)), self.own, len(self.others) + 1)
        handle.prioritize_pieces(order)
        handle.resume()
        why = self._waited(handle, order, places, left)
        if why:
            self.session.remove_torrent(handle)
            os.close(opened)
            return why
        # From here on it is read only, also by this process.
        reads = os.open(f"{OPENED}/{opened}", os.O_RDONLY)
        os.dup2(reads, opened)
        os.close(reads)
        with self.lock:
            self.lists[_key(opened)] = text
        return ""

    @staticmethod
    def _waited(
        handle: "lt.torrent_handle", order: list[int], places: Sequence[tuple[str, int]], left: Callable[[], bool]
    ) -> str:
        done, came, tried = -1, time.monotonic(), 0.0
        while True:
            status, now = handle.status(), time.monotonic()
            if status.is_seeding:
                return ""
            if status.errc.value():
                return str(status.errc.message())
            if status.total_done != done or status.state == lt.torrent_status.checking_files:
                done, came = status.total_done, now
            patience = STALL_S if status.distributed_copies >= 1 else LOST_S
            if now - came > patience:
                return f"no byte came for {patience:.0f} s, from {status.num_peers} peers"
            if left():
                return "nobody waits for it any more"
            # What others have a part of is taken from them: who has all shall give what nobody else has.
            have = handle.piece_availability()
            if have and max(have) > status.num_seeds:
                handle.prioritize_pieces(
                    [1 if one > status.num_seeds else early for one, early in zip(have, order, strict=True)]
                )
            if now - tried > AGAIN_S:
                tried = now
                here = {one.ip for one in handle.get_peer_info()}
                for place in places:
                    if place not in here:
                        handle.connect_peer(place)
            time.sleep(0.25)

    def _gives(self, opened: int, key: tuple[int, ...]) -> None:
        try:
            text = self._made(opened)
            self._added(text, opened).resume()
        except (OSError, RuntimeError) as error:
            print(f"no list of digests: {error}", flush=True)
            with self.lock:
                del self.lists[key]
            os.close(opened)
            return
        with self.lock:
            self.lists[key] = text

    def _added(self, text: bytes, opened: int, places: Sequence[tuple[str, int]] | None = None) -> "lt.torrent_handle":
        """A torrent to take from these places, or to give."""
        info = lt.torrent_info(text)
        info.rename_file(0, str(opened))
        wanted = lt.add_torrent_params()
        wanted.ti, wanted.save_path = info, OPENED
        flags = lt.torrent_flags
        wanted.flags = flags.paused | flags.disable_pex | (flags.seed_mode if places is None else flags.paused)
        wanted.peers = places or []
        handle = self.session.add_torrent(wanted)
        name = f"{OPENED}/{self.identity}"
        handle.set_ssl_certificate(name, name, "")
        return handle

    def _is_of(self, text: bytes, size: int) -> bool:
        """Whether this is what `metadata` of another host of this fleet makes of a file of this size."""
        try:
            info = lt.bdecode(text)[b"info"]
            (name, tree), *more = info[b"file tree"].items()
            return (
                not more
                and info[b"name"] == name == NAME.encode()
                and info[b"meta version"] == 2
                and info[b"piece length"] == piece_length(size)
                and info[b"ssl-cert"] == self.ca.encode()
                and tree.keys() == {b""}
                and tree[b""][b"length"] == size
            )
        except (RuntimeError, TypeError, KeyError, ValueError, AttributeError):
            return False

    def _made(self, opened: int) -> bytes:
        size = os.fstat(opened).st_size
        storage = lt.file_storage()
        storage.add_file(NAME, size)
        torrent = lt.create_torrent(storage, piece_size=piece_length(size), flags=lt.create_torrent.v2_only)
        torrent.set_root_cert(self.ca)
        with tempfile.TemporaryDirectory() as place:
            Path(place, NAME).symlink_to(f"{OPENED}/{opened}")
            lt.set_piece_hashes(torrent, place)
        return bytes(lt.bencode(torrent.generate()))


def _key(opened: int) -> tuple[int, ...]:
    found = os.fstat(opened)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _resolved(address: str, port: int) -> tuple[str, int] | None:
    try:
        return str(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4][0]), port
    except OSError as error:
        print(f"{address}: {error}", flush=True)
        return None
