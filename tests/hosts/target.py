"""One host under test, looked at over the connection that a deploy would use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import gevent
import paramiko
import pytest
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host as PyinfraHost
from testinfra.backend.paramiko import ParamikoBackend
from testinfra.host import Host

from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.facts.gateway import Running
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.operations import monitored
from ingot.operations.connection import reconnect
from ingot.operations.gateway import fronting
from ingot.operations.serving.requests import need_gpu, requests
from ingot.settings import Settings, of_host
from ingot.settings.read import section
from ingot.settings.serving import Serving
from tests.hosts import outside
from tests.hosts.https import Caller
from tests.hosts.look import EACH_REPLICA, TOKEN, Look, command, parse_look
from tests.hosts.outside import Outside, Served

#: What a host is given to come back in, seconds: servers with much memory check it for minutes at every boot.
BOOT_S = 900
#: What its engines are given to load their models again, seconds.
LOAD_S = 1800
_HEALTHY = (
    "{ ! grep -q replicas /var/lib/ingot/upstreams.json 2>/dev/null || "
    f'{{ each=$({EACH_REPLICA}) && echo "$each" | while read -r a h; do '
    "[ $h = none ] || curl -sf -o /dev/null -m 5 --noproxy '*' http://$a$h || exit 1; done; }; }"
)
#: The host's watch, too, has seen that they answer, in a look that began later than `{since_us}` after the boot. One
#: whose GPU failed is for the checks to tell.
_SEEN = f"""\
if systemctl is-enabled -q ingot-replica-watch.timer 2>/dev/null; then
    shown=$(systemctl show -p ActiveState -p ExecMainStartTimestampMonotonic ingot-replica-watch.service)
    printf '%s\\n' "$shown" | grep -qE '^ActiveState=(inactive|failed)$' &&
    test "$(printf '%s\\n' "$shown" | sed -n 's/^ExecMain.*=//p')" -gt {{since_us}} &&
    ! grep -qs '"gpu": ""' {HOLDS_FILE}
fi"""
_UPTIME_US = "awk '{print int($1 * 1e6)}' /proc/uptime"


class DeployConnection(ParamikoBackend):
    """A testinfra backend on a connection that pyinfra opened."""

    def __init__(self, host: PyinfraHost) -> None:
        super().__init__(host.name, sudo=bool(host.data.get("_sudo")))
        self._host = host

    @property
    def client(self) -> paramiko.SSHClient:  # type: ignore[override]
        return self._host.connector.client


@dataclass
class Target:
    """One host under test, and what was found of it: `trouble` says why nothing could be."""

    host: PyinfraHost
    inventory: str
    secrets: Path
    key: str | None = field(repr=False)
    trouble: str | None = "nobody looked at it"
    look: Look = field(default_factory=lambda: Look({}), repr=False)
    outside: Outside = field(default_factory=Outside, repr=False)
    leaks: tuple[str, ...] = ()
    boots: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def values(self) -> Settings:
        """Its settings. Raises: WrongValues."""
        return of_host(self.host)

    @property
    def address(self) -> str:
        return str(self.host.data.get("ssh_hostname") or self.name)

    @property
    def serves(self) -> bool:
        """Whether it runs models itself; a host that only fronts or watches others does not."""
        return not fronting.has_no_engine(self.host)

    @property
    def needs_gpu(self) -> bool:
        """Whether what it serves may need a GPU; so it is where its values are wrong, which is said elsewhere."""
        try:
            return need_gpu(requests(self.values))
        except IngotError:
            return True

    @property
    def uses_gpu(self) -> bool:
        """The same once it was looked at: engines that are chosen by what a host has are chosen then."""
        return self.needs_gpu and need_gpu(requests(self.values, has_gpu=bool(self.look.driver.bus.gpus)))

    @property
    def open_ports(self) -> set[int]:
        """What may be reached: SSH, the gateway, and what this host's values open beside them."""
        values = self.values
        opened = {22, int(self.host.data.get("ssh_port") or 22), 443, *values.verify_ports}
        if values.cache_peer_port:
            # Open while some host of a run lacks weights, to those with a certificate of the day.
            opened |= {values.cache_peer_port, values.cache_swarm_port or values.cache_peer_port}
        if values.gateway_certificate == "acme":
            opened.add(80)
        if values.gateway_proxy_port:
            opened.add(values.gateway_proxy_port)
        opened |= set(monitored.ports(self.host))
        if fronting.is_fronted(self.host):
            opened |= {values.gateway_fleet_port + index for index in range(len(values.names))}
        return opened

    @property
    def served(self) -> tuple[Served, ...]:
        """What callers are given here: a fleet gateway's are those of the hosts behind it."""
        others = [one for one in self.host.inventory if not fronting.is_front(one)]
        hosts = others if fronting.is_front(self.host) else [self.host]
        found: dict[str, Served] = {}
        for host in hosts:
            serving = section(host, Serving)
            if not serving.answers_at(host.name):
                continue
            for one in serving.serve:
                request = one.request(serving.catalog)
                model, said = request.model, request.arguments
                width = model.variants[0].architecture.hidden_size if model.kind == "embed" else None
                names = tuple(adapter.name for adapter in request.adapters)
                tools, thinks = said.tool_call_parser is not None, said.reasoning_parser is not None
                found.setdefault(model.name, Served(model.name, model.kind, width, tools, thinks, names))
        return tuple(found.values())

    @property
    def names(self) -> tuple[str, ...]:
        """What its certificate must name, and callers may call it; the first is how the checks do."""
        names = self.values.gateway_names
        return (self.name, *names) if self.has_internal_certificate or not names else names

    @property
    def has_internal_certificate(self) -> bool:
        return self.values.gateway_certificate == "internal"

    @property
    def caller(self) -> Caller:
        """Who calls the host, with the key there is."""
        return Caller(self.address, self.names[0], self.secrets / "ca.crt", self.key)

    @property
    def ca(self) -> Path:
        return self.caller.ca

    def expect(self, good: object, sentence: str) -> None:
        """Fail with the host's name and one sentence unless `good`: who is on call needs no traceback."""
        if not good:
            pytest.fail(f"{self.name}: {sentence}", pytrace=False)

    def gather(self, *, daemon_reload: bool, reboot: bool) -> None:
        """Find out everything that the checks want to know; runs for all hosts at once, so it never raises."""
        began = time.monotonic()
        try:
            self.host.connect(show_errors=False, raise_exceptions=True)
            if reboot:
                self._reboot()
            if daemon_reload:
                self._run("systemctl daemon-reload")
            ports = (self.values.engine_port,)
            paths = dict(zip(monitored.ports(self.host), ("/node", "/prometheus/api/v1/status/config"), strict=False))
            doors = {port: (self.name, path) for port, path in paths.items()}
            calls = gevent.spawn(outside.meet, self.caller, ports, self.served, doors)
            self.look = parse_look(self._run(command(self.name)))
            self.outside = calls.get()
            self.leaks = tuple(self._leaks())
            self.trouble = None
        except (ConnectError, IngotError) as error:
            self.trouble = str(error.args[0]).removeprefix(f"{self.name}: ")
        except (OSError, EOFError, paramiko.SSHException, ParseError) as error:
            self.trouble = f"could not be looked at to the end ({type(error).__name__}: {error}); try again"
        self.seconds = time.monotonic() - began

    def disconnect(self) -> None:
        if self.host.connected:
            self.host.disconnect()

    def _run(self, command: str) -> str:
        """The output of a command, as root. Raises: OSError when it fails."""
        done = Host(DeployConnection(self.host)).run(command)
        if done.rc != 0:
            raise OSError(f"`{command[:60]}` failed with status {done.rc}: {done.stderr.strip()}")
        return str(done.stdout)

    def _leaks(self) -> list[str]:
        """Where the prompt that was just asked, or a key, can be read afterwards."""
        # The quotes keep the prompt out of the journal, which has the commands that sudo was asked to run.
        half = len(self.outside.prompt) // 2
        pattern = f"{self.outside.prompt[:half]}''{self.outside.prompt[half:]}|{TOKEN}"
        found = self._run(
            f"grep -rlE '{pattern}' /var/log/nginx /var/log/ingot /var/lib/docker/containers "
            f"/run/ingot-request-bodies 2>/dev/null; journalctl -b --since -2min -o cat | grep -E '{pattern}' "
            "| cut -c1-60; true"
        )
        return found.splitlines()

    def _reboot(self) -> None:
        """Reboot as an operator does, and wait until the engines have loaded their models again."""
        before = self._run("cat /proc/sys/kernel/random/boot_id").strip()
        self._run("( sleep 1; systemctl reboot ) </dev/null >/dev/null 2>&1 &")
        deadline = time.monotonic() + BOOT_S
        now = before
        while now == before and time.monotonic() < deadline:
            if reconnect(self.host):
                try:
                    now = self._run("cat /proc/sys/kernel/random/boot_id").strip()
                except (OSError, EOFError, paramiko.SSHException):
                    continue
        self.boots = (before, now)
        deadline = time.monotonic() + LOAD_S
        healthy_us = None
        while time.monotonic() < deadline:
            try:
                healthy_us = healthy_us or self._run(f"{_HEALTHY} && {_UPTIME_US}").strip()
                self._run(_SEEN.format(since_us=healthy_us))
                # nginx goes over to what the watch wrote within a moment; where it does not, a check says so.
                self._run(Running().command(self.names[0]))
                return
            except OSError:
                time.sleep(2)
