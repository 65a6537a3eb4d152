"""Requests to an engine come back whole, and silence is a WAV file."""

from __future__ import annotations

import base64
import http.server
import io
import json
import subprocess
import threading
import wave
from collections.abc import Iterator

import pytest

from ingot.facts.asking import SILENCE, Answer, Asked
from ingot.facts.probe import ask

pytestmark = pytest.mark.models


class Engine(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).seen.append((self.path, body))
        status = 200 if b"broken" not in body else 500
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f'{{"path": "{self.path}",\n"said": "it\'s"}}'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    Engine.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", Engine.seen
        server.shutdown()


def run(command: str) -> list[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()


def test_each_request_comes_back_with_its_status_and_its_body(engine: tuple[str, list[tuple[str, bytes]]]) -> None:
    endpoint, seen = engine
    asked = [("/v1/a", {"prompt": 'it\'s "here" $HOME'}, False), ("/v1/b", {"x": "broken"}, False)]
    answers = Asked().process(run(Asked().command(endpoint, asked, seconds=10)))
    assert [answer.status for answer in answers] == ["200", "500"]
    assert json.loads(answers[0].text) == {"path": "/v1/a", "said": "it's"}
    assert json.loads(seen[0][1]) == asked[0][1]


def test_speech_is_sent_as_a_file(engine: tuple[str, list[tuple[str, bytes]]]) -> None:
    endpoint, seen = engine
    run(Asked().command(endpoint, [("/v1/audio/transcriptions", {"model": "whisper"}, True)], seconds=10))
    body = seen[0][1]
    assert b'name="model"\r\n\r\nwhisper' in body and b'filename="silence.wav"' in body and b"RIFF" in body


def test_an_engine_that_is_not_there_is_no_answer() -> None:
    assert Asked().process(run(Asked().command("127.0.0.1:1", [("/v1/a", {}, False)], seconds=2))) == (Answer(),)


def test_silence_is_a_second_of_sound() -> None:
    data = subprocess.run(["sh", "-c", SILENCE], capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnframes(), sound.getframerate(), sound.getsampwidth()) == (16000, 16000, 2)
    assert base64.b64encode(data)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("generate", "/v1/completions"),
        ("embed", "/v1/embeddings"),
        ("rerank", "/v1/rerank"),
        ("transcribe", "/v1/audio/transcriptions"),
    ],
)
def test_an_engine_is_asked_what_it_is_for(engine: tuple[str, list[tuple[str, bytes]]], kind: str, path: str) -> None:
    endpoint, seen = engine
    assert run(f"kind={kind}; model=small; endpoint={endpoint}; {ask(10)}; echo") == ["200"]
    assert seen[0][0] == path
    if kind != "transcribe":
        assert json.loads(seen[0][1])["model"] == "small"
