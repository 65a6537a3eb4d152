"""The demo's host: deployed by the real deploy.py, called as a user calls it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingot.errors import IngotError
from ingot.sandbox.host import TestHost
from ingot.sandbox.sandbox import Sandbox
from ingot.secrets import files, keys

NAME = "demo"
PROFILE = "rtx4090x1"
TEAM = "demo"
BEARER = "Authorization: Bearer "
QUESTION = "What turns a bare GPU server into a private LLM service?"
CHECKOUT = Path(__file__).parents[2]


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


def deploy() -> None:
    """Run pyinfra on the demo's host, as the README has it. Raises: IngotError when it fails."""
    command = [str(Path(sys.executable).parent / "pyinfra"), "-y", "inventories/sandbox.py", "deploy.py"]
    done = subprocess.run([*command, "--limit", NAME], cwd=CHECKOUT, check=False)
    if done.returncode:
        raise IngotError(
            f"{NAME}: deploy.py ended with status {done.returncode}; its last lines above say why, "
            f"`ingot sandbox ssh {NAME}` opens the host, `make demo-down` removes it."
        )


def endpoint_of(host: TestHost, secrets_dir: Path, header: Path) -> Endpoint:
    """Where the host that was deployed answers."""
    upstreams = json.loads(host.succeeds("cat /var/lib/ingot/upstreams.json"))
    return Endpoint(host.address, host.name, secrets_dir / "ca.crt", header, str(upstreams[0]["model"]))


def header_path(sandbox: Sandbox) -> Path:
    """The file with the demo's key as a header line, which curl takes with -H @FILE."""
    return sandbox.secrets_dir / f"{TEAM}.header"


def ensure_key(secrets_dir: Path, header: Path) -> None:
    """The demo's key as a header line for curl: made once, so that a second `make demo` changes nothing."""
    known = {key.sha256 for key in keys.read(secrets_dir)}
    if header.exists() and keys.fingerprint(header.read_text().strip().removeprefix(BEARER)) in known:
        return
    files.replace(header, f"{BEARER}{keys.create(secrets_dir, TEAM)}\n", mode=0o600)
