"""Make, find and remove test hosts; whatever died half-way is made whole or removed by the next call."""

import re
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ingot.sandbox import guest, image, machine, network, requirements
from ingot.sandbox.errors import SandboxError
from ingot.sandbox.host import TestHost
from ingot.sandbox.network import Network
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import HostRecord, free_number, locked, read_record, read_records, write_record

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _print(line: str) -> None:
    print(f"ingot: {line}", file=sys.stderr, flush=True)


class Sandbox:
    """All test hosts of one state directory, and what they share: key, network, images."""

    def __init__(self, paths: Paths | None = None, say: Callable[[str], None] = _print) -> None:
        self.paths = paths or Paths.from_environment()
        self._say = say

    @property
    def secrets_dir(self) -> Path:
        """Where the sandbox inventory's CA and API keys are kept; goes with the last host."""
        return self.paths.state / "secrets"

    def up(self, name: str, profile: str = "none", os: str = "debian13", timeout_s: float = 60) -> TestHost:
        """Boot host `name`, or finish what an earlier call began; returns when it answers SSH.

        Raises: SandboxError when this machine cannot have test hosts, or the host differs from what is asked.
        """
        if not NAME.fullmatch(name):
            raise SandboxError(f"{name!r} cannot be a host name: use lower-case letters, digits and hyphens")
        requirements.check()
        requirements.install(self._say)
        key = image.ensure(self.paths, os, self._say)
        self.paths.mirror.mkdir(parents=True, exist_ok=True)
        with self._locked():
            net = network.up(self.paths.state)
            self._ensure_key()
            record = self._ensure_made(net, name, profile, os, key)
            if not machine.running(net, name):
                machine.start(self.paths, net, record)
        host = TestHost(self.paths, net, record)
        host.wait_for_boot(timeout_s)
        return host

    def _ensure_made(self, net: Network, name: str, profile: str, os: str, key: str) -> HostRecord:
        old = read_record(self.paths, name)
        address = net.address(old.number) if old else ""
        if old and old.made and old.address == address and image.root(self.paths, old.image).is_dir():
            if (old.profile, old.os) != (profile, os):
                raise SandboxError(
                    f"{name} is up with profile {old.profile} on {old.os}, not {profile} on {os}: "
                    f"end it first with `ingot sandbox down {name}`"
                )
            return old
        self._remove(net, name)
        taken = {record.number for record in read_records(self.paths)}
        number = free_number(taken)
        record = HostRecord(name, number, net.address(number), profile, os, key, made=False)
        write_record(self.paths, record)
        for directory in ("upper", "work", "root", *machine.PLAIN):
            (self.paths.host(name) / directory).mkdir()
        guest.install(self.paths, net, record)
        made = HostRecord(name, number, record.address, profile, os, key, made=True)
        write_record(self.paths, made)
        return made

    def hosts(self) -> list[TestHost]:
        """Every host that was made, running or not, by name."""
        net = network.find(self.paths.state)
        if net is None:
            return []
        return [TestHost(self.paths, net, record) for record in read_records(self.paths) if record.made]

    def host(self, name: str) -> TestHost:
        """Host `name`. Raises: SandboxError when there is none."""
        for host in self.hosts():
            if host.name == name:
                return host
        raise SandboxError(f"there is no test host {name!r}: `ingot sandbox list` shows which there are")

    def down(self, name: str) -> None:
        """Remove host `name` and everything it left; the last one takes network and key with it.

        Raises: SandboxError when there is no such host.
        """
        with self._locked():
            if not self.paths.host(name).exists():
                raise SandboxError(f"there is no test host {name!r}: `ingot sandbox list` shows which there are")
            self._remove(network.find(self.paths.state), name)
            if not any(self.paths.hosts.iterdir()):
                self._remove_everything()

    def down_all(self) -> None:
        """Remove every host, the network, the key and the state directory, however much of it there is."""
        if not self.paths.state.exists() and network.find(self.paths.state) is None:
            return
        with self._locked():
            self._remove_everything()

    def purge(self) -> None:
        """Remove the cache too: images, mirror."""
        if self.paths.cache.exists():
            shutil.rmtree(self.paths.cache)

    def _remove_everything(self) -> None:
        net = network.find(self.paths.state)
        if net is not None:
            machine.kill(net)
            network.down(self.paths.state)
        shutil.rmtree(self.paths.state)

    def _remove(self, net: Network | None, name: str) -> None:
        if net is not None:
            machine.kill(net, name)
        if self.paths.host(name).exists():
            shutil.rmtree(self.paths.host(name))

    def _ensure_key(self) -> None:
        if self.paths.key.with_suffix(".pub").exists() and self.paths.key.exists():
            return
        self.paths.key.unlink(missing_ok=True)
        guest.make_key(self.paths.key, comment="ingot-sandbox")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.paths.state / "lock")
