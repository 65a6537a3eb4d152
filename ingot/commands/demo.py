"""`ingot demo up|down`: a throwaway host, provisioned by the real deploy.py, answers a question through TLS."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ingot.errors import IngotError
from ingot.report.terminal import print_plan
from ingot.sandbox import Sandbox, TestHost, mirror, requirements
from ingot.secrets import files, keys
from ingot.sizing import HostPlan

NAME = "demo"
PROFILE = "rtx4090x1"
TEAM = "demo"
BEARER = "Authorization: Bearer "
CHECKOUT = Path(__file__).parents[2]
QUESTION = "What turns a bare GPU server into a private LLM service?"


@dataclass(frozen=True)
class Endpoint:
    """Where the demo's service answers and what a caller needs: CA certificate and a file with the key header."""

    address: str
    server_name: str
    ca_path: Path
    header_path: Path
    model: str

    def ask(self, *, stream: bool) -> Iterator[str]:
        """The answer to the demo's question, piece by piece; one piece when not streamed.

        Raises: IngotError when there is none.
        """
        try:
            yield from self._ask(stream)
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            raise IngotError(
                f"{self.server_name}: no answer from {self.address} port 443 ({type(error).__name__}: {error}); "
                f"`ingot sandbox ssh {NAME}` opens the host, where `docker ps` and /var/log/nginx say more."
            ) from error

    def _ask(self, stream: bool) -> Iterator[str]:
        context = ssl.create_default_context(cafile=str(self.ca_path))
        raw = socket.create_connection((self.address, 443), timeout=120)
        connection = http.client.HTTPConnection(self.server_name)
        connection.sock = context.wrap_socket(raw, server_hostname=self.server_name)
        name, _, value = self.header_path.read_text().strip().partition(": ")
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": 24,
            "stream": stream,
        }
        headers = {name: value, "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise IngotError(f"the demo's model answered {answer.status}: {answer.read().decode()[:500]}")
        if not stream:
            yield str(json.loads(answer.read())["choices"][0]["message"]["content"])
            return
        for line in answer:
            event = line.decode().strip().removeprefix("data: ")
            if event.startswith("{"):
                for choice in json.loads(event)["choices"]:
                    yield choice["delta"].get("content") or ""

    def curl(self) -> str:
        """The line that asks the same from a shell; the key stays in its file, off the command line."""
        messages = [{"role": "user", "content": "Hello"}]
        question = json.dumps({"model": self.model, "messages": messages, "max_tokens": 16})
        return (
            f"curl --cacert {self.ca_path} --resolve {self.server_name}:443:{self.address} \\\n"
            f"  -H @{self.header_path} -H 'Content-Type: application/json' \\\n"
            f"  https://{self.server_name}/v1/chat/completions -d '{question}'"
        )


@click.group()
def demo() -> None:
    """Boot a throwaway host, provision it with deploy.py and ask its model a question."""
    # A host's root directory gets this machine's umask: under 077 nobody but root could enter it.
    os.umask(0o022)


@demo.command()
def up() -> None:
    """Boot, provision, ask: every step is shown."""
    started = time.monotonic()
    sandbox = Sandbox()
    requirements.check(sandbox.paths)
    requirements.install(click.echo)
    _step(started, "making what test hosts fetch: packages, vLLM's image (minutes, the first time), a tiny model")
    mirror.ensure()
    _step(started, f"booting the test host {NAME!r} with a simulated GPU ({PROFILE})")
    host = sandbox.up(NAME, profile=PROFILE)
    header = _header_path(sandbox)
    _ensure_key(sandbox.secrets_dir, header)
    _step(started, "running pyinfra inventories/sandbox.py deploy.py")
    _deploy()
    endpoint = _endpoint(host, sandbox.secrets_dir, header)
    _step(started, f"asking {endpoint.model} through TLS with a key: {QUESTION}")
    click.echo("".join(endpoint.ask(stream=False)))
    _step(started, "asking again, streamed")
    pieces = 0
    for piece in endpoint.ask(stream=True):
        pieces += 1
        click.echo(piece, nl=False)
    click.echo(f"\n({pieces} pieces; the model's weights are random, so it means nothing)")
    _step(started, "the plan that was used")
    print_plan(HostPlan.from_dict(json.loads(host.succeeds("cat /var/lib/ingot/plan.json"))["plan"]))
    _step(started, "try it yourself, then remove every trace with: make demo-down")
    click.echo(endpoint.curl())


@demo.command("key-file")
def key_file() -> None:
    """Print where the demo's key is, as the header line that curl takes with -H @FILE."""
    click.echo(_header_path(Sandbox()))


@demo.command()
def down() -> None:
    """Remove every trace: hosts, network, keys and the cached images."""
    sandbox = Sandbox()
    sandbox.down_all()
    sandbox.purge()
    click.echo("ingot: the demo, all test hosts and the cached images are gone")


def _step(started: float, what: str) -> None:
    click.secho(f"==> [{time.monotonic() - started:4.0f} s] {what}", bold=True)


def _deploy() -> None:
    command = [str(Path(sys.executable).parent / "pyinfra"), "-y", "inventories/sandbox.py", "deploy.py"]
    done = subprocess.run([*command, "--limit", NAME], cwd=CHECKOUT, check=False)
    if done.returncode:
        raise IngotError(
            f"{NAME}: deploy.py ended with status {done.returncode}; its last lines above say why, "
            f"`ingot sandbox ssh {NAME}` opens the host, `make demo-down` removes it."
        )


def _endpoint(host: TestHost, secrets_dir: Path, header: Path) -> Endpoint:
    upstreams = json.loads(host.succeeds("cat /var/lib/ingot/upstreams.json"))
    return Endpoint(host.address, host.name, secrets_dir / "ca.crt", header, str(upstreams[0]["model"]))


def _header_path(sandbox: Sandbox) -> Path:
    return sandbox.secrets_dir / f"{TEAM}.header"


def _ensure_key(secrets_dir: Path, header: Path) -> None:
    """The demo's key as a header line for curl: made once, so that a second `make demo` changes nothing."""
    known = {key.sha256 for key in keys.read(secrets_dir)}
    if header.exists() and keys.fingerprint(header.read_text().strip().removeprefix(BEARER)) in known:
        return
    files.replace(header, f"{BEARER}{keys.create(secrets_dir, TEAM)}\n", mode=0o600)
