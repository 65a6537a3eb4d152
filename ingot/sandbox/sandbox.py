"""Make, find and remove test hosts; whatever died half-way is made whole or removed by the next call."""

import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from ingot.inventory.member_name import is_member_name
from ingot.sandbox import aptrepo, guest, image, machine, membership, network, requirements, simulated
from ingot.sandbox.commands import LIMIT_S
from ingot.sandbox.errors import SandboxError, in_one_sentence
from ingot.sandbox.host import TestHost
from ingot.sandbox.network import Network
from ingot.sandbox.paths import CACHE_ENTRIES, STATE_ENTRIES, Paths, remove
from ingot.sandbox.state import HostRecord, free_number, locked, read_record, read_records, write_record


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

    def up(self, name: str, profile: str = "none", os: str = "debian13", timeout_s: float = LIMIT_S) -> TestHost:
        """Boot host `name`, or finish what an earlier call began; returns when it answers SSH.

        Raises: SandboxError when this machine cannot have test hosts, or the host differs from what is asked.
        """
        if "." in name or not is_member_name(name):
            raise SandboxError(f"{name!r} cannot be a host name: use lower-case letters, digits and hyphens")
        if profile not in simulated.PROFILES:
            raise SandboxError(f"there is no profile {profile!r}: choose one of {', '.join(simulated.PROFILES)}")
        requirements.check(self.paths)
        requirements.install(self._say)
        with in_one_sentence(f"{name} could not be made"):
            host = self._boot(name, profile, os)
        host.wait_for_boot(timeout_s)
        return host

    def ensure_images(self) -> None:
        """Build every root file system that the cache does not have yet: minutes, which a first boot would take.

        Raises: SandboxError when this machine cannot have test hosts or build their images.
        """
        requirements.prepare(self.paths, self._say)
        with in_one_sentence("images of test hosts could not be made"):
            for os in image.SUITES:
                image.ensure(self.paths, os, self._say)

    def _boot(self, name: str, profile: str, os: str) -> TestHost:
        key = image.ensure(self.paths, os, self._say)
        aptrepo.build(self.paths)
        with self._locked() as lock:
            net = network.up(self.paths.state)
            self._ensure_key()
            record = self._ensure_made(net, HostRecord(name, 0, "", profile, os, key, made=False))
            if machine.running(self.paths, name):
                machine.plug_in(net, record)
            else:
                machine.start(self.paths, net, record, lock)
        return TestHost(self.paths, net, record)

    def _ensure_made(self, net: Network, asked: HostRecord) -> HostRecord:
        """The existing host if it is complete; an incomplete one is replaced by a new one."""
        name = asked.name
        old = read_record(self.paths, name)
        if old and old.made and old.address == net.address(old.number) and self._has_image(old):
            if (old.profile, old.os) != (asked.profile, asked.os):
                raise SandboxError(
                    f"{name} was made with profile {old.profile} on {old.os}, not {asked.profile} on {asked.os}: "
                    f"end it first with `ingot sandbox down {name}`"
                )
            return old
        self._remove(name)
        number = free_number({record.number for record in read_records(self.paths)})
        record = replace(asked, number=number, address=net.address(number))
        write_record(self.paths, record)
        for directory in ("upper", "work", "root", *machine.PLAIN):
            (self.paths.host(name) / directory).mkdir()
            # Whatever the caller's umask: others than root live below these in the guest.
            (self.paths.host(name) / directory).chmod(0o755)
        guest.install(self.paths, net, record)
        record = replace(record, made=True)
        write_record(self.paths, record)
        return record

    def _has_image(self, record: HostRecord) -> bool:
        return image.root(self.paths, record.image).is_dir()

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
        """Remove host `name` and everything it left; the last one takes network and keys with it.

        Raises: SandboxError when there is no such host.
        """
        if not self.paths.host(name).exists():
            raise SandboxError(f"there is no test host {name!r}: `ingot sandbox list` shows which there are")
        with in_one_sentence(f"{name} could not be removed"), self._locked():
            self._remove(name)
            if not any(self.paths.hosts.iterdir()):
                self._remove_everything()

    def down_all(self) -> None:
        """Remove every host, the network, the keys and the state directory, however much of it there is."""
        requirements.check_root()
        with in_one_sentence("the test hosts could not be removed"), self._locked():
            self._remove_everything()

    def purge(self) -> None:
        """Remove the cache too: images, packages, models. Raises: SandboxError while a host uses it."""
        names = [host.name for host in self.hosts()]
        if names:
            raise SandboxError(f"the cache is in use by {', '.join(names)}: end them first, `ingot sandbox down --all`")
        with in_one_sentence("the cache could not be removed"):
            remove(self.paths.cache, CACHE_ENTRIES)

    def _remove(self, name: str) -> None:
        machine.kill(self.paths, name)
        self._forget(name)
        if self.paths.host(name).exists():
            shutil.rmtree(self.paths.host(name))

    def _forget(self, name: str) -> None:
        """Delete what onboarding wrote into the checkout about a host."""
        known_hosts = self.paths.host(name) / "known_hosts"
        if known_hosts.is_file():
            membership.forget(name, known_hosts.read_text().strip())

    def _remove_everything(self) -> None:
        machine.kill(self.paths)
        for record in read_records(self.paths):
            self._forget(record.name)
        network.down(self.paths.state)
        remove(self.paths.state, STATE_ENTRIES)

    def _ensure_key(self) -> None:
        if self.paths.key.with_suffix(".pub").exists() and self.paths.key.exists():
            return
        self.paths.key.unlink(missing_ok=True)
        guest.make_key(self.paths.key, comment="ingot-sandbox")

    def _locked(self) -> AbstractContextManager[int]:
        return locked(self.paths.state)
