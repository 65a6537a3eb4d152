"""The gateway's files: nginx' configuration and what it includes, out of what a host has and what is wanted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ingot import keys
from ingot.errors import IngotError
from ingot.facts.gateway import CONFIGURATION, TLS_DIRECTORY, GatewayHost, Version
from ingot.operations import render, tree

CERTIFICATE = f"{TLS_DIRECTORY}/certificate.pem"
KEY = f"{TLS_DIRECTORY}/key.pem"
SCRIPT = "/etc/nginx/ingot/auth.js"
MODEL_SCRIPT = "/etc/nginx/ingot/by_model.js"
KEY_MAP = "/etc/nginx/ingot/keys.map"

#: `ssl_reject_handshake` (1.19.4) is the newest directive that every rendering needs.
OLDEST_NGINX: Version = (1, 19, 4)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")
_SIZE = re.compile(r"[1-9][0-9]*[kKmMgG]?")
#: Mozilla guideline 6.0, intermediate: ssl-config.mozilla.org/guidelines/6.0.json.
CURVES = ("X25519", "prime256v1", "secp384r1")
POST_QUANTUM_CURVE = "X25519MLKEM768"
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


@dataclass(frozen=True)
class Route:
    """A path that callers may use, and what answers: the engine, one of several by model, nginx' own list, nobody."""

    method: str
    path: str
    answer: Literal["engine", "by model", "list", "nobody"]


@dataclass(frozen=True)
class Engine:
    """An nginx upstream: a name, the model it serves and the replicas' addresses."""

    name: str
    model: str
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class ErrorAnswer:
    """An error in OpenAI's shape; nginx gives it for each of `codes`."""

    status: int
    message: str
    type: str
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    also: tuple[int, ...] = ()

    @property
    def codes(self) -> tuple[int, ...]:
        return (self.status, *self.also)

    @property
    def malformed(self) -> bool:
        """Whether the request may be one that nginx could not even parse."""
        return self.status == 400

    @property
    def target(self) -> str:
        """nginx' location that answers; a named one keeps the caller's path for the log."""
        return f"/-/error-{self.status}" if self.malformed else f"@error_{self.status}"


_BAD = "invalid_request_error"
ERRORS = (
    # 414: URI too long; 494: header too large; 497: plain HTTP on the TLS port.
    ErrorAnswer(400, "The request could not be understood.", _BAD, "bad_request", also=(414, 494, 497)),
    ErrorAnswer(
        401,
        "A valid API key is needed: Authorization: Bearer sk-...",
        _BAD,
        "invalid_api_key",
        headers=(("WWW-Authenticate", "Bearer"),),
    ),
    ErrorAnswer(404, "There is no such route.", _BAD, "unknown_url"),
    ErrorAnswer(405, "This route does not take that method.", _BAD, "method_not_allowed"),
    ErrorAnswer(413, "The request body is too large.", _BAD, "request_too_large"),
    ErrorAnswer(
        429,
        "Your team sends more requests than it may; wait and try again.",
        "rate_limit_error",
        "rate_limit_exceeded",
        headers=(("Retry-After", "2"),),
    ),
    ErrorAnswer(502, "The model is not answering.", "server_error", "engine_down", headers=(("Retry-After", "10"),)),
    ErrorAnswer(503, "No model is ready.", "server_error", "engine_not_ready", headers=(("Retry-After", "10"),)),
    ErrorAnswer(504, "The model took too long.", "server_error", "engine_timeout", headers=(("Retry-After", "10"),)),
)


@dataclass(frozen=True)
class Settings:
    """The gateway's values of group_data, and the names that callers use for the host."""

    names: tuple[str, ...]
    secrets: Path
    ca_scope: tuple[str, ...]
    max_body: str
    read_timeout_s: int
    requests_per_minute: int
    concurrency: int
    embeddings: bool


def words(name: str, value: object) -> tuple[str, ...]:
    """A group_data value that is a list of words.

    Raises: IngotError for anything else; a single word would become a list of its letters.
    """
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    example = f"[{value!r}]" if isinstance(value, str) else "[]"
    raise IngotError(f"{name} is {value!r}, expected a list; write {example}.")


def check(settings: Settings) -> None:
    """Raises: IngotError for a value, or a name, that nginx or a certificate could not carry."""
    if not _SIZE.fullmatch(str(settings.max_body)):
        raise IngotError(
            f"gateway_max_body is {settings.max_body!r}, expected a size as nginx writes it, such as 32m; correct it."
        )
    for name in ("read_timeout_s", "requests_per_minute", "concurrency"):
        value = getattr(settings, name)
        if type(value) is not int or value < 1:
            raise IngotError(f"gateway_{name} is {value!r}, expected a whole number from 1 on; correct it.")
    wrong = [name for name in settings.names if not _NAME.fullmatch(name)]
    if wrong:
        raise IngotError(
            f"{', '.join(map(repr, wrong))} cannot be a name in a certificate, expected letters, digits, '-' and '.', "
            "or an address; correct gateway_names or the host's address."
        )


def why_not(name: str, found: GatewayHost) -> str | None:
    """Why this host cannot carry the gateway, in one sentence; None when it can."""
    # No nginx at all says nothing: package lists may not have been fetched yet.
    if found.nginx and (not found.njs or found.nginx < OLDEST_NGINX):
        return (
            f"{name}: the package sources offer nginx {_dotted(found.nginx)} "
            f"{'with' if found.njs else 'without'} libnginx-mod-http-js, expected nginx "
            f"{_dotted(OLDEST_NGINX)} or newer with it; use Debian 12, Ubuntu 24.04 or newer."
        )
    if found.upstreams_fault:
        return (
            f"{name}: the list of engines is damaged ({found.upstreams_fault}); "
            "deploy again, the engine role writes it anew."
        )
    return None


def entries(found: GatewayHost, settings: Settings, active: Sequence[keys.Key], certificate: str) -> list[tree.Entry]:
    """The files of nginx, as `tree` installs them. `certificate` (PEM) is the one that lies on the host."""
    script, model_script, key_map = render.template("gateway/auth.js"), by_model(engines(found)), map_of(active)
    # Names everything that nginx reads, so that what it runs can be compared with what is installed.
    unnamed = configuration(found, settings, len(active), digest="")
    parts = "\0".join((unnamed, script, model_script or "", key_map, certificate.strip()))
    digest = hashlib.sha256(parts.encode()).hexdigest()[:16]
    return [
        tree.Dir("/etc/nginx/ingot", mode="0755"),
        tree.File(CONFIGURATION, configuration(found, settings, len(active), digest)),
        tree.File(SCRIPT, script),
        tree.File(MODEL_SCRIPT, model_script) if model_script else tree.Absent(MODEL_SCRIPT),
        # Hashes only, and still nobody else's business: read by nginx' master, which is root.
        tree.File(KEY_MAP, key_map, mode="0600", secret=True),
        # Not included by our configuration; removed so that nobody wonders.
        tree.Absent("/etc/nginx/sites-enabled/default"),
    ]


def map_of(active: Sequence[keys.Key]) -> str:
    """nginx' map from the SHA-256 of a key to its team."""
    return "".join(f"{key.sha256} {key.team};\n" for key in active)


def configuration(found: GatewayHost, settings: Settings, key_count: int, digest: str) -> str:
    """nginx.conf for the nginx and OpenSSL at hand; it tells the host itself the `digest` of all its files."""
    version = found.nginx or OLDEST_NGINX
    served = engines(found)
    http2_directive = version >= (1, 25, 1)
    listen = "443 ssl" if http2_directive else "443 ssl http2"
    values: dict[str, Any] = {
        # nginx compares names with the Host header, which has an IPv6 address in brackets.
        "names": [f"[{name}]" if ":" in name else name for name in settings.names],
        "certificate": CERTIFICATE,
        "key": KEY,
        "listens": [listen, *([f"[::]:{listen}"] if found.ipv6 else [])],
        "http2_directive": http2_directive,
        # From 1.23.2 on nginx rotates the ticket keys of a shared session cache by itself.
        "rotates_ticket_keys": version >= (1, 23, 2),
        "curves": ":".join(curves(found.openssl)),
        "ciphers": ":".join(CIPHERS),
        "engines": served,
        "by_model": len(served) > 1,
        "model_list": model_list(served),
        "routes": routes(len(served), embeddings=settings.embeddings),
        "digest": digest,
        "errors": ERRORS,
        "map_hash_max_size": max(2048, 4 * key_count),
        "max_body": settings.max_body,
        "read_timeout_s": settings.read_timeout_s,
        "requests_per_minute": settings.requests_per_minute,
        "burst": max(1, settings.requests_per_minute // 10),
        "concurrency": settings.concurrency,
    }
    return render.template("gateway/nginx.conf", **values)


def engines(found: GatewayHost) -> list[Engine]:
    """An upstream per served model."""
    return [
        Engine(f"engine_{index}", upstream.model, upstream.replicas) for index, upstream in enumerate(found.upstreams)
    ]


def routes(models: int, *, embeddings: bool) -> list[Route]:
    """What callers may reach; everything else is 404 and never meets an engine."""
    paths = ["/v1/chat/completions", "/v1/completions", *(["/v1/embeddings"] if embeddings else [])]
    if models == 0:
        return [Route("GET", "/v1/models", "nobody"), *(Route("POST", path, "nobody") for path in paths)]
    if models == 1:
        return [Route("GET", "/v1/models", "engine"), *(Route("POST", path, "engine") for path in paths)]
    return [Route("GET", "/v1/models", "list"), *(Route("POST", path, "by model") for path in paths)]


def model_list(served: Sequence[Engine]) -> str:
    """`/v1/models` of a host with several engines, as OpenAI shapes it."""
    models = [{"id": engine.model, "object": "model", "created": 0, "owned_by": "ingot"} for engine in served]
    return json.dumps({"object": "list", "data": models})


def by_model(served: Sequence[Engine]) -> str | None:
    """The njs script that chooses an engine by the model that a request names; None where there is no choice."""
    if len(served) < 2:
        return None
    names = json.dumps({engine.model: engine.name for engine in served})
    return render.template("gateway/by_model.js", engines_by_model=names)


def curves(openssl: Version | None) -> tuple[str, ...]:
    """Key exchange groups; nginx refuses to start with the post-quantum one before OpenSSL 3.5."""
    return (POST_QUANTUM_CURVE, *CURVES) if openssl and openssl >= (3, 5) else CURVES


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
