"""A hub on this machine that speaks Hugging Face's protocol, with recorded metadata of repositories."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import unquote

#: config.json of Qwen/Qwen3-0.6B, as it is published.
QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
    "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
    "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
    "vocab_size": 151936,
}  # fmt: skip

FIRST, SECOND = "c1899de289a04d12100db370d81485cdf75e47ca", "b" * 40


@dataclass
class Repository:
    """A repository: its commits' files by path (content, or a size where nobody reads it), and what it asks for."""

    commits: dict[str, dict[str, bytes | int]]
    main: str
    gated: bool = False


@dataclass
class StandIn:
    """The hub: its address, repositories, what it was asked, and answers that come before the right ones.

    With `cdn`, the address of another server, large files are there, as the hub's are: `from_cdn` is what it was asked.
    test_real_client.py has the hub's own client judge it.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    first: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    token: str = "hf_right"
    cdn: str = ""
    from_cdn: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        words = unquote(path.partition("?")[0]).strip("/").split("/")
        api = words[:2] == ["api", "models"]
        name = "/".join(words[2:4] if api else words[:2])
        found = self.repositories.get(name)
        if found is None:
            # As the hub says it: what is not there and what is private look the same without a token.
            return 401, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Invalid username or password."}'
        if found.gated and authorization != f"Bearer {self.token}":
            return 403, {"X-Error-Code": "GatedRepo"}, b'{"error": "Access to model is restricted"}'
        # `/api/models/NAME` is its newest commit; `tree/COMMIT` lists a commit's files otherwise.
        revision = (words[5] if len(words) > 5 else "main") if api else words[3]
        commit = found.main if revision == "main" else revision
        if commit not in found.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error": "Revision Not Found"}'
        if not api:
            return self._file(found.commits[commit], commit, "/".join(words[4:]))
        if words[4:5] == ["tree"]:
            listed = [_in_tree(path, content) for path, content in found.commits[commit].items()]
            return 200, {}, json.dumps(listed).encode()
        siblings = [_sibling(path, content) for path, content in found.commits[commit].items()]
        said = {"id": name, "sha": commit, "gated": found.gated and "manual", "siblings": siblings}
        return 200, {}, json.dumps({**said, "private": False, "disabled": False}).encode()

    def _file(self, files: dict[str, bytes | int], commit: str, path: str) -> tuple[int, dict[str, str], bytes]:
        content = files.get(path)
        if not isinstance(content, bytes):
            return 404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found"
        listed = _sibling(path, content)
        digest = listed["lfs"]["sha256"] if "lfs" in listed else listed["blobId"]
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit}
        if "lfs" in listed and self.cdn:
            large = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            return 302, {**headers, **large, "Location": f"{self.cdn}/{digest}?Signature=of-the-hub"}, b""
        return 200, headers, content


def _sibling(path: str, content: bytes | int) -> dict[str, Any]:
    size = content if isinstance(content, int) else len(content)
    data = path.encode() if isinstance(content, int) else content
    listed: dict[str, Any] = {"rfilename": path, "size": size, "blobId": sha1(data).hexdigest()}
    if path.endswith(".safetensors"):
        listed["lfs"] = {"sha256": sha256(data).hexdigest(), "size": size, "pointerSize": 135}
    return listed


def _in_tree(path: str, content: bytes | int) -> dict[str, Any]:
    listed = _sibling(path, content)
    found = {"type": "file", "oid": listed["blobId"], "size": listed["size"], "path": path}
    if "lfs" in listed:
        found["lfs"] = {"oid": listed["lfs"]["sha256"], "size": listed["size"], "pointerSize": 135}
    return found


@contextmanager
def hub(on: str = "127.0.0.1", *, cdn: bool = False) -> Iterator[StandIn]:
    """A hub that runs, with Qwen3-0.6B at two commits, its FP8 copy, and a gated model.

    It is `on` an address of this machine; with `cdn` its large files are at another server.
    """
    files: dict[str, bytes | int] = {
        ".gitattributes": 1570, "README.md": 13965, "config.json": json.dumps(QWEN3).encode(),
        "generation_config.json": b"{}", "merges.txt": 1671853, "model.safetensors": 1503300328,
        "tokenizer.json": 11422654, "tokenizer_config.json": b"{}".ljust(9732), "vocab.json": 2776833,
    }  # fmt: skip
    newer = {**files, "generation_config.json": b'{"temperature": 0.6}'}
    scheme = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    config = json.dumps({**QWEN3, "quantization_config": scheme}).encode()
    fp8 = {**files, "model.safetensors": 757000000, "config.json": config}
    made = StandIn(
        repositories={
            "Qwen/Qwen3-0.6B": Repository({FIRST: files, SECOND: newer}, SECOND),
            "Qwen/Qwen3-0.6B-FP8": Repository({"f" * 40: fp8}, "f" * 40),
            "meta-llama/Gated": Repository({"9" * 40: files}, "9" * 40, gated=True),
        }
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization")
            made.asked.append((self.path, authorization))
            status, headers, body = 200, {}, b""
            if made.first:
                status, headers = made.first.pop(0)
                _send(self, status, headers, body, None)
                return
            _send(self, *made.answer(self.path, authorization), self.headers.get("Range"))

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Cdn(Handler):
        def do_GET(self) -> None:
            made.from_cdn.append((self.path, self.headers.get("Authorization")))
            wanted = self.path.strip("/").partition("?")[0]
            contents = (
                content
                for one in made.repositories.values()
                for files in one.commits.values()
                for content in files.values()
                if isinstance(content, bytes)
            )
            body = next((content for content in contents if sha256(content).hexdigest() == wanted), None)
            _send(self, 404 if body is None else 200, {}, body or b"", self.headers.get("Range"))

        do_HEAD = do_GET

    with (
        http.server.ThreadingHTTPServer((on, 0), Handler) as server,
        http.server.ThreadingHTTPServer((on, 0), Cdn) as elsewhere,
    ):
        made.url = f"http://{on}:{server.server_port}"
        made.cdn = f"http://{on}:{elsewhere.server_port}" if cdn else ""
        for one in (server, elsewhere):
            one.daemon_threads = True
            threading.Thread(target=one.serve_forever, daemon=True).start()
        yield made
        for one in (server, elsewhere):
            one.shutdown()


def _send(
    handler: http.server.BaseHTTPRequestHandler,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    wanted: str | None,
) -> None:
    """An answer, or the part of it that is wanted."""
    if status == 200 and wanted:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(body)
        headers = {**headers, "Content-Range": f"bytes {first}-{min(end, len(body)) - 1}/{len(body)}"}
        status, body = 206, body[int(first) : end]
    handler.send_response(status)
    for key, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(key, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
