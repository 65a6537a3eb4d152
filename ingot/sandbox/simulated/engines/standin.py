"""Simulated: stands in for SGLang, TensorRT-LLM, TGI, Ollama, LM Studio and llama.cpp on GPUs, which need a real one.

It takes their command lines (of Ollama its variables and its store, of LM Studio the commands of `lms`), and answers as
they do: routes, health, metrics, log lines, and how each ends. No model is loaded: an answer is as many words as tokens
were asked for. Python's standard library alone; runs in a container.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

WORD, WORD_EVERY_S = "one ", 0.02
MOST_WORDS = 16
#: How long it loads: a while in which its health says so.
LOADS_S = 1.5


class Engine:
    """What one of them says and does; `flags` are those of its command line by name."""

    health: ClassVar[str] = "/health"
    #: Its flag for requests at once.
    most: ClassVar[str]
    #: Answered as well, and never to be reached by callers.
    shut: ClassVar[tuple[str, ...]] = ()
    #: Whether it ends running requests when it is told to stop, and stops one whose caller hung up.
    drains: ClassVar[bool] = False
    frees: ClassVar[bool] = False

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.ready_at = time.monotonic() + LOADS_S
        self.lock = threading.Lock()
        self.running = self.waiting = self.read = self.written = self.asked = 0
        self.port, at_once = self.told()
        self.slots = threading.Semaphore(at_once)
        for line in self.log():
            print(line, flush=True)

    def told(self) -> tuple[int, int]:
        """Its port, and how many requests it works on at once."""
        return int(self.flag("--port")), int(self.flag(self.most))

    def flag(self, name: str) -> str:
        return self.words[self.words.index(name) + 1]

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def is_ready(self) -> bool:
        return time.monotonic() >= self.ready_at

    def log(self) -> Iterable[str]:
        return ()

    def metrics(self) -> str | None:
        return None

    def knows(self, model: str) -> bool:
        """Whether it serves a model by this name; most answer for any."""
        return True

    def own(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, str] | None:
        """Its answer on a route that it alone has."""
        return (200, "[]") if path in self.shut else None


class SGLang(Engine):
    most = "--max-running-requests"
    health = "/ready"
    shut = ("/health", "/generate", "/flush_cache", "/server_info", "/get_model_info", "/v1/loads", "/abort_request")
    drains = frees = True
    tokens: ClassVar[int] = 4096

    @property
    def name(self) -> str:
        return self.flag("--served-model-name")

    def log(self) -> Iterable[str]:
        yield "Load weight begin. avail mem=21.50 GB"
        yield "Load weight end. type=Qwen3ForCausalLM, avail mem=21.49 GB, mem usage=0.01 GB."
        yield f"KV Cache is allocated. #tokens: {self.tokens}, K size: 0.01 GB, V size: 0.01 GB"
        yield f"max_total_num_tokens={self.tokens}, context_len={self.flag('--context-length')}"

    def metrics(self) -> str | None:
        if "--enable-metrics" not in self.words:
            return None
        labels = f'{{engine_type="unified",model_name="{self.name}",tp_rank="0"}}'
        return "".join(
            f"sglang:{name}{labels} {float(value)}\n"
            for name, value in (
                ("num_running_reqs", self.running),
                ("num_queue_reqs", self.waiting),
                ("token_usage", self.running / 100),
                ("prompt_tokens_total", self.read),
                ("generation_tokens_total", self.written),
                ("cached_tokens_total", 0),
                ("time_to_first_token_seconds_sum", self.asked * WORD_EVERY_S),
                ("time_to_first_token_seconds_count", self.asked),
            )
        )


class TensorRTLLM(Engine):
    most = "--max_batch_size"
    shut = ("/version", "/metrics", "/server_info", "/kv_cache_events", "/update_weights")

    @property
    def name(self) -> str:
        return Path(self.words[0]).name

    def log(self) -> Iterable[str]:
        yield "[TRT-LLM] [I] Memory used after loading model weights (inside torch) in memory usage profiling: 0.01 GiB"
        yield "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.02 GiB for max tokens in paged KV cache (4096)."


class TGI(Engine):
    most = "--max-concurrent-requests"
    shut = ("/generate", "/generate_stream", "/info", "/tokenize", "/invocations")
    drains = True

    def log(self) -> Iterable[str]:
        yield "INFO text_generation_launcher: KV-cache blocks: 4096, size: 1"

    def metrics(self) -> str | None:
        return f"tgi_queue_size {self.waiting}\ntgi_batch_current_size {self.running}\ntgi_request_count {self.asked}\n"


class Ollama(Engine):
    """It loads the model of its store that is asked for first, after it has compared the blob with its digest."""

    health = "/"
    shut = ("/api/version", "/api/tags", "/api/pull", "/api/create", "/api/delete", "/api/chat", "/debug/pprof/")

    def told(self) -> tuple[int, int]:
        self.store = Path(os.environ["OLLAMA_MODELS"])
        self.loaded = self.asked_for = ""
        self.loading = threading.Lock()
        # As the real one makes its key pair.
        (Path(os.environ["HOME"]) / ".ollama").mkdir(exist_ok=True)
        return int(os.environ["OLLAMA_HOST"].rpartition(":")[2]), int(os.environ["OLLAMA_NUM_PARALLEL"])

    @property
    def is_ready(self) -> bool:
        # It lives: that is all that its health says.
        return True

    def log(self) -> Iterable[str]:
        yield f'msg="Listening on [::]:{self.port} (version 0.33.0)"'

    @property
    def name(self) -> str:
        return self.asked_for

    def manifest(self, name: str) -> Path:
        model, _, tag = name.rpartition("/")[2].partition(":")
        above = name.rpartition("/")[0].split("/") if "/" in name else ["library"]
        host = ["registry.ollama.ai"] if len(above) < 2 else []
        return self.store.joinpath("manifests", *host, *above, model, tag or "latest")

    def knows(self, model: str) -> bool:
        """Load it, as its first request does."""
        with self.loading:
            if not self.manifest(model).is_file():
                return False
            self.asked_for = model
            layers = {one["mediaType"]: one for one in json.loads(self.manifest(model).read_text())["layers"]}
            digest = layers["application/vnd.ollama.image.model"]["digest"]
            if self.loaded == digest:
                return True
            time.sleep(LOADS_S)
            blob = self.store / "blobs" / digest.replace(":", "-")
            if f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}" != digest:
                raise OSError(f"{blob} is damaged")
            parameters = layers["application/vnd.ollama.image.params"]["digest"].replace(":", "-")
            given = json.loads((self.store / "blobs" / parameters).read_text())
            slots = int(os.environ["OLLAMA_NUM_PARALLEL"])
            cells = -(-given["num_ctx"] // 256) * 256
            print(f'msg="starting llama-server" cmd="llama-server -c {given["num_ctx"] * slots} -np {slots}"')
            print("load_tensors: offloaded 3/3 layers to GPU")
            print("load_tensors:        CUDA0 model buffer size =     4.81 MiB")
            print(f"llama_kv_cache: size =    4.00 MiB ( {cells} cells,   2 layers,  {slots}/{slots} seqs)", flush=True)
            self.loaded = digest
            return True

    def own(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, str] | None:
        if path == "/api/generate" and "prompt" not in asked:
            try:
                known = self.knows(asked["model"])
            except OSError as error:
                return 500, json.dumps({"error": str(error)})
            return (200, json.dumps({"done_reason": "load"})) if known else (404, json.dumps({"error": "not found"}))
        if path == "/api/ps":
            return 200, json.dumps({"models": [{"digest": self.loaded}] if self.loaded else []})
        return super().own(method, path, asked)


class LMStudio(Engine):
    """What `lms load` has loaded, served by what `lms server start` started."""

    health = "/v1/models"
    shut = ("/api/v0/models", "/api/v1/models/load", "/api/v1/models/download", "/api/v1/chat", "/v1/responses")

    def told(self) -> tuple[int, int]:
        loaded = json.loads(lms_file("loaded.json").read_text())
        self.identifier = loaded[loaded.index("--identifier") + 1]
        self.ready_at = 0.0
        return int(self.flag("--port")), int(loaded[loaded.index("--parallel") + 1])

    @property
    def name(self) -> str:
        return str(self.identifier)


def lms_file(name: str) -> Path:
    return Path(os.environ["HOME"]) / ".lmstudio" / name


def is_listened_on(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def lms(words: Sequence[str]) -> int:
    """A command of LM Studio's: `daemon up` and `down`, `load`, `server start`, `ps`. Returns: its exit status."""
    server = lms_file("server.pid")
    if words[0] == "load":
        time.sleep(LOADS_S)
        (file,) = lms_file("models").joinpath(words[1]).glob("*.gguf")
        if not file.read_bytes().startswith(b"GGUF"):
            print(f"{file} is no model", file=sys.stderr)
            return 1
        lms_file("loaded.json").write_text(json.dumps(words))
    elif list(words[:2]) == ["server", "start"]:
        started = subprocess.Popen([sys.executable, __file__, "lmstudio", "serve", *words[2:]])
        port = int(words[words.index("--port") + 1])
        server.write_text(f"{started.pid} {port}")
        while started.poll() is None:
            if is_listened_on(port):
                return 0
            time.sleep(0.1)
        return 1
    elif words[0] == "ps":
        if not is_listened_on(int(server.read_text().split()[1])):
            return 1
        loaded = json.loads(lms_file("loaded.json").read_text())
        print(loaded[loaded.index("--identifier") + 1])
    elif list(words[:2]) == ["daemon", "down"] and server.is_file():
        os.kill(int(server.read_text().split()[0]), signal.SIGTERM)
    return 0


class LlamaCpp(Engine):
    most = "--parallel"
    shut = ("/props", "/tokenize", "/completion", "/apply-template", "/lora-adapters")

    @property
    def name(self) -> str:
        return self.flag("--alias")

    def log(self) -> Iterable[str]:
        slots, context = int(self.flag("--parallel")), int(self.flag("--ctx-size"))
        # Keys and values of the tiny model: three layers of two heads of 64, in f16.
        size = context * 3 * 2 * 64 * 2 * 2 / 2**20
        yield "build_info: b11669-simulated"
        yield "load_tensors: offloaded 4/4 layers to GPU"
        yield "load_tensors:        CUDA0 model buffer size =     4.82 MiB"
        yield f"llama_kv_cache:      CUDA0 KV buffer size = {size:8.2f} MiB"
        cells = f"{context // slots:6} cells,   3 layers,  {slots}/{slots} seqs"
        yield f"llama_kv_cache: size = {size:.2f} MiB ({cells}), K (f16): {size / 2:.2f} MiB"
        yield "sched_reserve:      CUDA0 compute buffer size =     9.02 MiB"

    def metrics(self) -> str | None:
        figures = {
            "requests_processing": self.running,
            "requests_deferred": self.waiting,
            "n_decode_total": self.written,
        }
        return "".join(f"llamacpp:{name} {value}\n" for name, value in figures.items())


ENGINES: dict[str, type[Engine]] = {
    "llama.cpp-cuda": LlamaCpp,
    "sglang": SGLang,
    "tensorrt-llm": TensorRTLLM,
    "tgi": TGI,
    "ollama": Ollama,
    "lmstudio": LMStudio,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: ClassVar[Engine]

    def do_GET(self) -> None:
        engine, path = self.engine, self.path.partition("?")[0]
        if path == engine.health != "/v1/models":
            return self.answer(200 if engine.is_ready else 503, "")
        metrics = engine.metrics() if path == "/metrics" else None
        if metrics is not None:
            return self.answer(200, metrics, "text/plain; version=0.0.4")
        if path == "/v1/models":
            return self.answer(200, json.dumps({"object": "list", "data": [{"id": engine.name, "object": "model"}]}))
        return self.answer(*(engine.own("GET", path, {}) or (404, "[]")))

    def do_POST(self) -> None:
        engine, path = self.engine, self.path.partition("?")[0]
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return self.answer(*(engine.own("POST", path, asked) or (404, "{}")))
        if not engine.is_ready:
            return self.answer(503, "{}")
        if not engine.knows(asked["model"]):
            return self.answer(404, "{}")
        with engine.lock:
            engine.waiting += 1
        with engine.slots:
            with engine.lock:
                engine.waiting, engine.running, engine.asked = engine.waiting - 1, engine.running + 1, engine.asked + 1
            try:
                self.generate(asked, chat=path.endswith("chat/completions"))
            except OSError:
                self.close_connection = True
            finally:
                with engine.lock:
                    engine.running -= 1
        return None

    def generate(self, asked: dict[str, Any], *, chat: bool) -> None:
        words = min(int(asked.get("max_tokens") or asked.get("max_completion_tokens") or MOST_WORDS), 4096)
        text = " ".join(str(one["content"]) for one in asked["messages"]) if chat else str(asked["prompt"])
        prompt = len(text.split())
        usage = {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
        shape = {"id": "standin-1", "created": 1, "model": self.engine.name}
        self.engine.read += prompt
        if asked.get("stream"):
            return self.stream(asked, shape, words, usage, chat=chat)
        for _ in range(words):
            time.sleep(WORD_EVERY_S)
            self.engine.written += 1
            if self.engine.frees and self.is_left():
                self.close_connection = True
                return None
        said = {"message": {"role": "assistant", "content": WORD * words}} if chat else {"text": WORD * words}
        choice = {"index": 0, "finish_reason": "length", **said}
        kind = "chat.completion" if chat else "text_completion"
        return self.answer(200, json.dumps({**shape, "object": kind, "choices": [choice], "usage": usage}))

    def is_left(self) -> bool:
        """Whether its caller hung up."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and not self.connection.recv(1, 2)

    def stream(
        self, asked: dict[str, Any], shape: dict[str, Any], words: int, usage: dict[str, int], *, chat: bool
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        shape |= {"object": "chat.completion.chunk" if chat else "text_completion"}
        for number in range(words):
            said = {"delta": {"content": WORD}} if chat else {"text": WORD}
            ends = "length" if number == words - 1 else None
            self.piece(json.dumps({**shape, "choices": [{"index": 0, "finish_reason": ends, **said}]}))
            self.engine.written += 1
            time.sleep(WORD_EVERY_S)
        if (asked.get("stream_options") or {}).get("include_usage"):
            self.piece(json.dumps({**shape, "choices": [], "usage": usage}))
        self.piece("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def answer(self, status: int, text: str, kind: str = "application/json") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main(name: str, words: Sequence[str]) -> None:
    """Serve as the engine of this name until it is told to stop; of LM Studio, do what `lms` is told."""
    if name == "lmstudio" and words[0] != "serve":
        sys.exit(lms(words))
    engine = Handler.engine = ENGINES[name](words)
    server = ThreadingHTTPServer(("0.0.0.0", engine.port), Handler)
    server.daemon_threads = True

    def stop(*_: object) -> None:
        def end() -> None:
            while engine.drains and engine.running:
                time.sleep(0.05)
            server.shutdown()

        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
