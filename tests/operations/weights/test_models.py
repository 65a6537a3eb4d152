"""models: every file verified, transfers resumed, nothing half-written or unlisted ever under the model's name."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ingot.catalog import load_models
from ingot.errors import IngotError
from ingot.facts.models import MADE, Found, ModelDirectory, Room, Verified, parse_models
from ingot.operations.serving import planning
from ingot.operations.weights import models
from ingot.operations.weights.manifest import MANIFEST, ModelFile, Origin, chosen, origin, parse_manifest
from ingot.operations.weights.models import Wanted, no_room, trouble
from ingot.sandbox.tiny_models import generator
from ingot.settings.sources import Models as Upstream

pytestmark = pytest.mark.cache

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENT = {
    "config.json": b'{"model_type": "qwen3"}',
    "model-00001-of-00001.safetensors": bytes(range(256)) * 800,
    "tokenizer.json": b"{}",
}


def entry(repository: str = "tiny", revision: str | None = REVISION) -> dict[str, Any]:
    variant = {"name": "bf16", "repository": repository, "revision": revision}
    return {"config": dict(generator.CONFIG), "variants": [variant]}


def wanted(root: Path | str = "/srv/models", repository: str = "tiny", revision: str | None = REVISION) -> Wanted:
    (variant,) = load_models({"tiny": entry(repository, revision)})["tiny"].variants
    return Wanted("tiny", variant, str(root))


@dataclass
class Mirror:
    """A web server with one model, which can be told to misbehave."""

    files: dict[str, bytes]
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut_at: dict[str, list[int]] = field(default_factory=dict)
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    authorization: set[str | None] = field(default_factory=set)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    stalls: set[str] = field(default_factory=set)
    holds_at: dict[str, int] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)

    def manifest(self, **changed: Any) -> bytes:
        listed = [
            {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in self.files.items()
        ]
        return json.dumps({"files": [{**one, **changed.get(one["path"], {})} for one in listed]}).encode()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    yield from serving()


@pytest.fixture
def other() -> Iterator[Mirror]:
    """A second source of the same model."""
    yield from serving()


def serving(on: str = "127.0.0.1") -> Iterator[Mirror]:
    served = Mirror(dict(CONTENT))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition(f"{REVISION}/")[2]
            served.asked.append((name, self.headers.get("Range")))
            served.authorization.add(self.headers.get("Authorization"))
            data = served.manifest() if name == MANIFEST else served.files.get(name)
            if served.answers.get(name):
                data = served.answers[name].pop(0)
            if served.statuses.get(name) or data is None:
                self.send_response(served.statuses[name].pop(0) if served.statuses.get(name) else 404)
                for header, value in served.headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if name in served.stalls:
                served.go_on.wait(60)
            if start < served.holds_at.get(name, 0):
                self.wfile.write(data[start : served.holds_at[name]])
                served.go_on.wait(60)
                return
            end = served.cut_at[name].pop(0) if served.cut_at.get(name) else len(data)
            self.wfile.write(data[start:end])

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((on, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.url = f"http://{on}:{server.server_address[1]}/models"
    yield served
    served.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, mirror: Mirror, run_operation: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the operation for one model of the mirror, cached below tmp_path/models."""
    root = tmp_path / "models"
    # Waits between attempts are not what these tests are about.
    quick = models.SCRIPT.replace('sleep "$1"', "sleep 0.01").replace("stall_s=30", "stall_s=1")
    monkeypatch.setattr(models, "SCRIPT", quick)
    monkeypatch.setattr(models, "DAMAGE", str(tmp_path / "damage.tsv"))
    monkeypatch.setattr("ingot.facts.models.DAMAGE", str(tmp_path / "damage.tsv"))
    monkeypatch.setattr(planning, "host_plan", lambda: None)

    def run(
        source: dict[str, str] | None = None,
        token_file: str | None = None,
        repository: str = "tiny",
        lock: Path | None = None,
        serve: Sequence[dict[str, Any]] = (),
        fallback: Sequence[dict[str, str]] = (),
        waived: dict[str, dict[str, str]] | None = None,
        bandwidth_mb_s: int | None = None,
        model: str = "tiny",
        **options: Any,
    ) -> Any:
        monkeypatch.setattr(models, "wanted_models", lambda *_: (replace(wanted(root, repository), model=model),))
        data = {
            "cache_root": str(root),
            "cache_bandwidth_mb_s": bandwidth_mb_s,
            "cache_hub_token_file": token_file,
            "sources": {
                "models": source or {"kind": "mirror", "uri": mirror.url},
                "models_fallback": list(fallback),
            },
            "models_lock": str(lock) if lock else None,
            "models_site": None,
            "models_waived": waived or {},
            "serve": list(serve),
            "site_models": {"tiny": entry()},
        }
        return run_operation(models.cached, data=data, **options)

    return run


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models/tiny/bf16" / REVISION


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(("bandwidth_mb_s", "given"), [(None, "4 "), (7, "1 --limit-rate 7000000")])
def test_transfers_together_take_no_more_than_they_may(cache, target, monkeypatch, tmp_path, bandwidth_mb_s, given):
    noted = models.SCRIPT.replace("exec curl $rate", f'echo "$lanes $rate" >>{tmp_path}/curls; exec curl $rate')
    monkeypatch.setattr(models, "SCRIPT", noted)
    assert cache(bandwidth_mb_s=bandwidth_mb_s).succeeded and contents(target) == CONTENT
    assert set((tmp_path / "curls").read_text().splitlines()) == {given}


@pytest.mark.parametrize("cut", ["", "[ -e {0}/cut ] || {{ : >{0}/cut; exit 28; }}; "])
def test_a_mounted_tree_is_read_no_faster_than_it_may_be(cache, target, monkeypatch, tmp_path, mirror, cut):
    tree = tmp_path / "tree/tiny" / REVISION
    tree.mkdir(parents=True)
    for name, data in {**CONTENT, "ingot-manifest.json": mirror.manifest()}.items():
        (tree / name).write_bytes(data)
    paced = models.SCRIPT.replace("bandwidth=$(value bandwidth)", "bandwidth=100")
    assert "    sleep 1\n" in paced
    paced = paced.replace("    sleep 1\n", f"{cut.format(tmp_path)}echo >>{tmp_path}/seconds\n")
    monkeypatch.setattr(models, "SCRIPT", paced)
    assert cache({"kind": "mirror", "uri": f"file://{tmp_path}/tree"}, bandwidth_mb_s=1).succeeded
    assert contents(target) == CONTENT
    pieces = sum(-(-len(data) // 100) for data in CONTENT.values())
    assert len((tmp_path / "seconds").read_text().splitlines()) == pieces - bool(cut), "one piece a second"


def test_a_model_is_fetched_verified_and_published_and_the_second_run_reads_none_of_it(cache, target, mirror):
    first = cache()
    assert first.succeeded and first.changed, first.said
    assert f"fetch tiny (bf16) from {mirror.url}/tiny/{REVISION}: 0.00 GB to {target} (not there yet)" in first.said
    assert contents(target) == CONTENT
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o644}
    mirror.asked.clear()
    second = cache()
    assert second.succeeded and not second.changed and mirror.asked == []
    assert len(second.commands) == 2, "one look to prepare, one to execute"


def test_files_that_another_model_has_are_shared_and_not_fetched_until_they_rot(cache, target, mirror, tmp_path):
    assert cache().succeeded
    mirror.asked.clear()
    mirror.files["config.json"] = b'{"model_type": "qwen3", "a": 1}'
    run = cache(model="other")
    other = tmp_path / "models/other/bf16" / REVISION
    assert run.succeeded and contents(other) == mirror.files, run.said
    assert {name for name, _ in mirror.asked} == {MANIFEST, "config.json"}
    assert [(other / name).samefile(target / name) for name in CONTENT] == [False, True, True]
    assert not cache(model="other").changed and not cache().changed
    # What rotted is proven before it is shared.
    (target / SHARD).write_bytes(damaged_by(SHARD))
    third = cache(model="third")
    assert third.succeeded and contents(tmp_path / "models/third/bf16" / REVISION) == mirror.files, third.said
    assert SHARD in {name for name, _ in mirror.asked}
    # It is set right for each, and never written to.
    assert cache().succeeded and cache(model="other").succeeded
    assert contents(other)[SHARD] == contents(target)[SHARD] == CONTENT[SHARD]


def test_what_is_shared_needs_no_room():
    listed = (ModelFile("a", 10, "x"), ModelFile("b", 5, "y"), ModelFile("c", 1, None, "g"))
    assert models.missing_bytes(listed, ModelDirectory()) == 16
    assert models.missing_bytes(listed, ModelDirectory(), {"x": ("/srv/models/o/a",)}) == 6


def test_a_lock_says_which_files_and_nobody_is_asked_for_a_list(cache, target, mirror, tmp_path):
    lock, serve = tmp_path / "models.lock.yaml", [{"model": "tiny", "context": 1024, "concurrency": 1}]
    missing = cache(lock=lock, serve=serve)
    assert not missing.succeeded and not target.exists() and mirror.asked == []
    assert f"{lock} is not there, expected the commits and files of what is served" in missing.said
    # What came to the mirror since is not taken.
    mirror.files["added.json"] = b"{}"
    files = [one for one in json.loads(mirror.manifest())["files"] if one["path"] != "added.json"]
    repositories = {"tiny": {"commit": REVISION, "files": files}}
    lock.write_text(json.dumps({"schema": 1, "hub": mirror.url, "repositories": repositories}))
    done = cache(lock=lock, serve=serve)
    assert done.succeeded, done.said
    assert contents(target) == CONTENT
    assert {name for name, _ in mirror.asked} == set(CONTENT)


SHARD = "model-00001-of-00001.safetensors"


@pytest.fixture
def locked(cache, mirror, tmp_path) -> Callable[..., Any]:
    """Run the operation with a lock of models; `changed` are files whose entries differ from what the mirror has."""

    def run(changed: dict[str, dict[str, Any]] | None = None, **options: Any) -> Any:
        lock = tmp_path / "models.lock.yaml"
        files = json.loads(mirror.manifest(**(changed or {})))["files"]
        content = {"schema": 1, "hub": mirror.url, "repositories": {"tiny": {"commit": REVISION, "files": files}}}
        lock.write_text(json.dumps(content))
        return cache(lock=lock, serve=[{"model": "tiny", "context": 1024, "concurrency": 1}], **options)

    return run


def damaged_by(name: str) -> bytes:
    """A shard of the right size with one wrong byte."""
    data = CONTENT[name]
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_source_with_other_bytes_is_named_and_the_file_taken_from_the_next(locked, target, mirror, other, tmp_path):
    wrong = damaged_by(SHARD)
    mirror.answers[SHARD] = [wrong] * 9
    run = locked(fallback=[{"kind": "mirror", "uri": other.url}])
    assert run.succeeded and contents(target) == CONTENT, run.said
    digests = f"sha256 {hashlib.sha256(wrong).hexdigest()}, expected {hashlib.sha256(CONTENT[SHARD]).hexdigest()}"
    assert (
        f"@local: {mirror.url}/tiny/{REVISION}/{SHARD} has {digests}; {SHARD} was taken from "
        f"{other.url}/tiny/{REVISION} instead"
    ) in run.said
    assert contents(tmp_path / "models/.quarantine") == {f"tiny_bf16_{REVISION}.incomplete_{SHARD}.part": wrong}
    assert [name for name, _ in other.asked] == [SHARD] and not locked().changed


def test_a_file_that_no_source_has_names_each_and_is_never_visible(locked, target, mirror, other):
    mirror.statuses[SHARD] = [404] * 9
    other.answers[SHARD] = [damaged_by(SHARD)] * 9
    failed = locked(fallback=[{"kind": "mirror", "uri": other.url}])
    assert not failed.succeeded and not target.exists()
    (sentence,) = (line for line in failed.said.splitlines() if "could not fetch" in line)
    assert f"could not fetch {mirror.url}/tiny/{REVISION}/{SHARD}: curl: (22)" in sentence and " 404" in sentence
    assert f"{other.url}/tiny/{REVISION}/{SHARD} has sha256 " in sentence and ", twice; the lock" in sentence


def test_half_of_a_file_from_one_source_is_gone_on_with_at_the_next(locked, target, mirror, other):
    mirror.cut_at[SHARD] = [100_000] + [0] * 20
    run = locked(fallback=[{"kind": "mirror", "uri": other.url}])
    assert run.succeeded and contents(target) == CONTENT
    assert other.asked == [(SHARD, "bytes=100000-")]


def test_what_is_there_already_is_proven_against_the_lock_that_is_there_now(locked, target, mirror):
    assert locked().succeeded
    mirror.files[SHARD] = damaged_by(SHARD)
    mirror.asked.clear()
    moved = locked()
    assert moved.succeeded and f"{SHARD} is another file than the lock has" in moved.said
    assert contents(target)[SHARD] == damaged_by(SHARD) and [name for name, _ in mirror.asked] == [SHARD]
    assert not locked().changed


def test_what_a_scrub_found_is_fetched_again_and_its_mark_goes(locked, target, mirror, tmp_path):
    assert locked().succeeded
    before = (target / SHARD).stat()
    (target / SHARD).write_bytes(damaged_by(SHARD))
    os.utime(target / SHARD, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not locked().changed, "size and time are as they were"
    theirs = "2026-11-01T03:00:00Z\thas sha256 0, expected 1\t/srv/elsewhere/model.safetensors\n"
    ours = f"2026-11-29T03:00:00Z\thas sha256 0, expected 1\t{target}/{SHARD}\n"
    (tmp_path / "damage.tsv").write_text(theirs + ours)
    mirror.asked.clear()
    healed = locked()
    assert healed.succeeded and f"{SHARD} has sha256 0, expected 1, found 2026-11-29T03:00:00Z" in healed.said
    assert contents(target) == CONTENT and [name for name, _ in mirror.asked] == [SHARD]
    assert (tmp_path / "damage.tsv").read_text() == theirs and not locked().changed


@pytest.mark.parametrize(
    ("status", "asked", "said"),
    [
        (401, 1, "gated, private, or not for this token"),
        (403, 1, "gated, private, or not for this token"),
        (404, 1, "error: 404"),
        (500, 6, "error: 500"),
    ],
)
def test_a_source_that_refuses_is_one_sentence_and_asked_again_where_that_helps(
    locked, target, mirror, status, asked, said
):
    mirror.statuses[SHARD] = [status] * 9
    failed = locked()
    assert not failed.succeeded and not target.exists() and said in failed.said
    assert [name for name, _ in mirror.asked].count(SHARD) == asked
    mirror.statuses.clear()
    assert locked().succeeded and contents(target) == CONTENT


@pytest.mark.parametrize(
    ("headers", "waits_s"),
    [
        ({"Retry-After": "55"}, 56),
        ({"RateLimit": '"resolvers";r=0;t=120', "RateLimit-Policy": '"fixed";q=3000;w=300'}, 121),
        ({"Retry-After": "99999"}, 310),
        ({}, 1),
    ],
)
def test_a_full_quota_is_waited_for_as_the_hub_says(locked, target, mirror, tmp_path, headers, waits_s):
    mirror.statuses[SHARD], mirror.headers = [429], headers
    assert locked().succeeded and contents(target) == CONTENT
    assert f"waiting {waits_s} s: curl: (22)" in (tmp_path / "run/ingot-models.log").read_text()


def test_a_transfer_without_bytes_has_stalled_and_the_next_source_is_asked(locked, target, mirror, other):
    mirror.stalls.add(SHARD)
    run = locked(fallback=[{"kind": "mirror", "uri": other.url}])
    assert run.succeeded and contents(target) == CONTENT
    assert "curl: (28)" in run.said and f"was taken from {other.url}" in run.said


@pytest.mark.parametrize("size", [len(CONTENT[SHARD]) - 7, len(CONTENT[SHARD]) + 70_000, 40 << 20])
def test_a_file_of_another_size_is_said_at_once_and_fills_no_disk(locked, target, mirror, tmp_path, size):
    mirror.answers[SHARD] = [bytes(size)] * 9
    failed = locked()
    assert not failed.succeeded and not target.exists() and f"could not fetch {mirror.url}" in failed.said
    assert [name for name, _ in mirror.asked].count(SHARD) <= 3
    assert sum(path.stat().st_size for path in (tmp_path / "models").rglob("*")) < 2 * len(CONTENT[SHARD])


def test_a_source_that_leads_to_another_host_is_named_with_that_host(locked, target, mirror):
    mirror.statuses[SHARD], mirror.headers["Location"] = [302] * 9, "http://cas.invalid:9/xorbs/1"
    failed = locked()
    assert not failed.succeeded and not target.exists()
    assert (
        f"could not fetch {mirror.url}/tiny/{REVISION}/{SHARD}, which leads to cas.invalid:9: curl: (6)" in failed.said
    )


def test_a_wrong_digest_in_the_lock_is_named_with_what_the_source_has(locked, target):
    failed = locked({SHARD: {"sha256": "e" * 64}})
    assert not failed.succeeded and not target.exists()
    assert f"expected {'e' * 64}, twice; the lock, the manifest or the source is wrong" in failed.said
    assert locked().succeeded and contents(target) == CONTENT


CODE = {
    "auto_map": b'{"auto_map": {"AutoModel": "modeling.Model"}}',
    "custom_pipeline": b'{"a": [{"custom_pipeline" :\n "x"}]}',
    "_attn_implementation_internal": b'{"_attn_implementation_internal": "org/kernel"}',
    "a\\u0075to_map": b'{"a\\u0075to_map": {"AutoModel": "modeling.Model"}}',
}


@pytest.mark.parametrize("key", CODE)
def test_configuration_that_names_code_is_never_a_model_unless_it_was_read(locked, target, mirror, key):
    mirror.files["config.json"] = CODE[key]
    sha256 = hashlib.sha256(CODE[key]).hexdigest()
    refused = locked()
    assert not refused.succeeded and not target.exists()
    assert f"config.json of tiny names code to be loaded ({key}), expected none" in refused.said
    assert f'models_waived = {{"tiny": {{"config.json": "{sha256}"}}}}' in refused.said
    assert not locked(waived={"tiny": {"config.json": "0" * 64}}).succeeded
    assert locked(waived={"tiny": {"config.json": sha256}}).succeeded and target.exists()


def test_a_switch_is_no_code(locked, target, mirror):
    mirror.files["config.json"] = b'{"_attn_implementation_autoset": true, "text": "auto_map: \\"auto_map\\": 1"}'
    assert locked().succeeded and target.exists()


def test_a_token_goes_to_the_hub_alone(locked, target, mirror, other, tmp_path):
    (tmp_path / "token").write_text("hf_CANARY\n")
    other.files = {}
    run = locked(
        source={"kind": "mirror", "uri": other.url},
        fallback=[{"kind": "hub", "uri": mirror.url}],
        token_file=str(tmp_path / "token"),
    )
    assert run.succeeded and contents(target) == CONTENT
    assert other.authorization == {None} and mirror.authorization == {"Bearer hf_CANARY"}


def test_a_transfer_that_is_cut_off_is_resumed(cache, target, mirror):
    name = "model-00001-of-00001.safetensors"
    mirror.cut_at[name] = [100_000, 150_000]
    assert cache().succeeded
    assert contents(target) == CONTENT
    assert [start for asked, start in mirror.asked if asked == name] == [None, "bytes=100000-", "bytes=150000-"]


def test_what_a_run_fetched_before_it_died_is_used_by_the_next(cache, target, mirror, tmp_path):
    name = "model-00001-of-00001.safetensors"
    incomplete = target.with_name(f"{REVISION}.incomplete")
    incomplete.mkdir(parents=True)
    (incomplete / MADE).write_text(f"{target}\n")
    (incomplete / f"{name}.part").write_bytes(CONTENT[name][:200_000])
    (incomplete / "config.json").write_bytes(CONTENT["config.json"])
    assert cache().succeeded
    assert contents(target) == CONTENT and not incomplete.exists()
    assert (name, "bytes=200000-") in mirror.asked and "config.json" not in {asked for asked, _ in mirror.asked}


def test_a_corrupt_file_is_set_aside_and_fetched_once_more(cache, target, mirror, tmp_path):
    corrupt = bytes(len(CONTENT["tokenizer.json"]))
    mirror.answers["tokenizer.json"] = [corrupt]
    assert cache().succeeded and contents(target) == CONTENT
    assert contents(tmp_path / "models/.quarantine") == {
        f"tiny_bf16_{REVISION}.incomplete_tokenizer.json.part": corrupt
    }


def test_a_digest_that_never_matches_fails_with_both_and_publishes_nothing(cache, target, mirror):
    mirror.answers[MANIFEST] = [mirror.manifest(**{"tokenizer.json": {"sha256": "e" * 64}})] * 2
    failed = cache()
    digest = hashlib.sha256(CONTENT["tokenizer.json"]).hexdigest()
    assert not failed.succeeded and not target.exists()
    assert f"has sha256 {digest}, expected {'e' * 64}, twice" in failed.said
    assert [name for name, _ in mirror.asked].count("tokenizer.json") == 2


def test_a_file_that_is_not_there_is_one_sentence(cache, target, mirror):
    mirror.answers[MANIFEST] = [mirror.manifest()] * 2
    del mirror.files["tokenizer.json"]
    failed = cache()
    assert not failed.succeeded and not target.exists()
    assert f"could not fetch {mirror.url}/tiny/{REVISION}/tokenizer.json: curl: (22)" in failed.said
    assert [name for name, _ in mirror.asked].count("tokenizer.json") == 1, "a 404 is not asked again"


def test_a_revision_that_is_not_there_is_refused_before_anything_is_written(cache, target, mirror, tmp_path):
    mirror.files.clear()
    refused = cache({"kind": "mirror", "uri": mirror.url + "/elsewhere"})
    assert not refused.succeeded
    assert "has no .safetensors weights (only nothing)" in refused.said
    assert not (tmp_path / "models").exists()


def test_a_flipped_byte_is_found_by_time_and_only_that_file_is_fetched_again(cache, target, mirror):
    cache()
    name = "model-00001-of-00001.safetensors"
    (target / name).write_bytes(b"\xff" + CONTENT[name][1:])
    mirror.asked.clear()
    healed = cache()
    assert healed.succeeded and f"{name} changed since it was verified" in healed.said
    assert contents(target) == CONTENT
    assert [asked for asked, _ in mirror.asked if asked in CONTENT] == [name]
    assert not cache().changed


def test_a_file_that_was_only_touched_is_kept(cache, target, mirror):
    cache()
    (target / "tokenizer.json").touch()
    mirror.asked.clear()
    assert cache().changed
    assert {asked for asked, _ in mirror.asked} == {MANIFEST}
    assert not cache().changed


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("import os"), lambda path: path.symlink_to("/etc/passwd")]
)
def test_what_nobody_listed_is_taken_out_of_the_directory(cache, target, tmp_path, make):
    cache()
    make(target / "modeling.py")
    healed = cache()
    assert "modeling.py does not belong there" in healed.said
    assert contents(target) == CONTENT and [path.name for path in (tmp_path / "models/.set-aside").iterdir()] == [
        f"tiny_bf16_{REVISION}_modeling.py"
    ]


def test_what_others_put_in_its_place_is_set_aside_each_time_and_never_deleted(cache, target, tmp_path):
    cache()
    for text in ("theirs", "theirs too"):
        (target / "notes.txt").write_text(text)
        assert cache().succeeded
    kept = (tmp_path / "models/.set-aside").iterdir()
    assert sorted(path.read_text() for path in kept) == ["theirs", "theirs too"]


@pytest.mark.parametrize("suffix", ["incomplete", "incoming"])
def test_a_directory_of_somebody_else_is_not_taken_for_a_transfer(cache, target, suffix):
    theirs = target.with_name(f"{REVISION}.{suffix}")
    theirs.mkdir(parents=True)
    (theirs / "0").write_text("theirs")
    refused = cache()
    assert not refused.succeeded and f"{theirs} was not made by Ingot" in refused.said
    assert (theirs / "0").read_text() == "theirs" and not target.exists()


def test_a_model_that_was_there_before_is_verified_and_stays_its_owners(cache, target, tmp_path):
    target.mkdir(parents=True)
    for name, data in CONTENT.items():
        (target / name).write_bytes(data)
    (target / "tokenizer.json").write_bytes(b"[]")
    (target / "model-00001-of-00001.safetensors.part").write_bytes(b"half")
    assert cache().succeeded and contents(target) == CONTENT
    assert not (target / MADE).exists(), "decommission --wipe-models would delete it"
    assert sorted(path.read_bytes() for path in (tmp_path / "models/.set-aside").iterdir()) == [b"[]", b"half"]


def test_a_quarantine_of_somebody_else_is_left_alone(cache, target, mirror, tmp_path):
    theirs = tmp_path / "models/.quarantine"
    theirs.mkdir(parents=True)
    (theirs / "virus").write_text("theirs")
    mirror.answers["tokenizer.json"] = [b"[]"]
    assert cache().succeeded and contents(target) == CONTENT
    assert [path.name for path in theirs.iterdir()] == ["virus"]
    assert [path.read_bytes() for path in (tmp_path / "models/.set-aside").iterdir()] == [b"[]"]


def test_a_model_is_pushed_from_this_machine_with_its_digests(cache, target, tmp_path):
    here = tmp_path / "mine"
    here.mkdir()
    for name, data in {**CONTENT, "train.py": b"never"}.items():
        (here / name).write_bytes(data)
    pushed = cache(repository=str(here))
    assert pushed.succeeded and f"push tiny (bf16) from {here}" in pushed.said, pushed.said
    assert contents(target) == CONTENT
    assert not target.with_name(f"{REVISION}.incoming").exists()
    assert not cache(repository=str(here)).changed


def test_the_hub_is_asked_for_one_commit_with_a_token_that_nobody_sees(cache, target, mirror, tmp_path):
    files = {name: data for name, data in mirror.files.items() if name != "config.json"}
    small = CONTENT["config.json"]
    git = hashlib.sha1(b"blob %d\0" % len(small) + small).hexdigest()
    listed = [
        {"rfilename": name, "size": len(data), "blobId": "0" * 40, "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}
        for name, data in files.items()
    ]
    listed += [{"rfilename": "config.json", "size": len(small), "blobId": git}]
    listed += [{"rfilename": "modeling_tiny.py", "size": 1, "blobId": "1" * 40}]
    listed += [{"rfilename": "pytorch_model.bin", "size": 1, "blobId": "2" * 40, "lfs": {"sha256": "2" * 64}}]
    api = f"/models/api/models/tiny/revision/{REVISION}?blobs=true"
    mirror.answers[api] = [json.dumps({"sha": REVISION, "siblings": listed}).encode()] * 2
    (tmp_path / "token").write_text("hf_CANARY\n")
    run = cache({"kind": "hub", "uri": mirror.url}, token_file=str(tmp_path / "token"))
    assert run.succeeded and contents(target) == CONTENT, run.said
    assert mirror.authorization == {"Bearer hf_CANARY"}
    assert "CANARY" not in run.everything and not any("CANARY" in command for command in run.commands)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    assert left == [tmp_path / "token"]


def test_a_small_file_of_the_hub_must_have_its_git_id(cache, target, mirror):
    listed = [{"rfilename": name, "size": len(data), "blobId": "0" * 40, "lfs": None} for name, data in CONTENT.items()]
    api = f"/models/api/models/tiny/revision/{REVISION}?blobs=true"
    mirror.answers[api] = [json.dumps({"sha": REVISION, "siblings": listed}).encode()] * 2
    failed = cache({"kind": "hub", "uri": mirror.url})
    assert not failed.succeeded and not target.exists() and f"expected {'0' * 40}, twice" in failed.said


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        (None, "revision None, expected a commit of 40 hex digits"),
        ("main", "revision 'main', expected a commit"),
    ],
)
def test_a_revision_that_is_no_commit_is_refused(revision, said):
    with pytest.raises(IngotError, match=said):
        origin(Upstream(kind="hub", uri="https://huggingface.co"), wanted(revision=revision).variant, "tiny (bf16)")


def test_a_hub_that_answers_with_another_commit_is_refused():
    with pytest.raises(IngotError, match="answered with commit"):
        parse_manifest('{"sha": "moved", "siblings": []}', Origin("hub", "https://hub/a"), REVISION)


@pytest.mark.parametrize("path", ["../../etc/cron.d/x.json", "/etc/x.json", "a\tb.json", "a b.json", 'q".json'])
def test_a_path_that_leaves_the_directory_is_refused(path):
    with pytest.raises(IngotError, match="expected a plain relative path"):
        chosen([ModelFile(path, 1, "0" * 64), ModelFile("model.safetensors", 1, "0" * 64)], "tiny (bf16)")


def test_only_one_copy_of_the_weights_and_no_code_is_taken():
    names = [
        "README.md", "config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "modeling.py",
        "model.safetensors.index.json", "original/model.safetensors", "pytorch_model.bin", "1_Pooling/config.json",
        "tokenizer.model", "chat_template.jinja", "merges.txt", "tekken.tiktoken", "training_args.pt",
    ]  # fmt: skip
    taken = chosen([ModelFile(name, 1, "0" * 64) for name in names], "m")
    assert [one.path for one in taken] == [
        "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "1_Pooling/config.json",
        "tokenizer.model", "chat_template.jinja", "merges.txt", "tekken.tiktoken",
    ]  # fmt: skip


def test_a_model_with_pickles_only_is_refused():
    with pytest.raises(IngotError, match=r"has no \.safetensors weights \(only \.bin, \.json\)"):
        chosen([ModelFile("pytorch_model.bin", 1, "0" * 64), ModelFile("config.json", 1, "0" * 64)], "m (bf16)")


def test_space_is_refused_with_what_is_needed_and_what_is_free():
    assert no_room("m (bf16)", "/srv/models", 16_000_000_000, 10, Room(17_000_000_000, None, "/")) == (
        "m (bf16) needs 17.6 GB at /srv/models (10 % to spare), 17.0 GB are free there (mounted at /); free some, "
        "or set cache_root to a larger file system."
    )
    assert no_room("m", "/srv", 16_000_000_000, 10, Room(17_600_000_001, 1000, "/")) is None
    assert "needs 20 inodes" in (no_room("m", "/srv", 1, 10, Room(10**12, 19, "/srv")) or "")
    assert no_room("m", "/srv", 0, 10, Room(0, 0, "/")) is None, "a repair that fetches nothing needs no room"


def test_a_directory_is_judged_without_reading_it():
    whole = ModelDirectory({"a": Found("f", 3, "1.5"), "d": Found("d", 0, "9")}, (Verified("a", 3, "0" * 64, "1.5"),))
    assert trouble(whole) is None
    assert trouble(ModelDirectory()) == "not there yet"
    assert trouble(ModelDirectory(whole.entries)) == "never verified"
    assert trouble(ModelDirectory({"d": Found("d", 0, "9")}, whole.verified)) == "a is missing"
    assert trouble(ModelDirectory({"a": Found("l", 3, "1.5")}, whole.verified)) == "a changed since it was verified"


def test_what_was_verified_is_held_to_the_lock_by_digest() -> None:
    small = ModelFile("a", 3, None, "git id")
    entries = {"a": Found("f", 3, "1.5")}

    def said(verified: Verified, *listed: ModelFile) -> str | None:
        return trouble(ModelDirectory(entries, (verified,)), listed)

    assert said(Verified("a", 3, "0" * 64, "1.5"), ModelFile("a", 3, "0" * 64)) is None
    assert said(Verified("a", 3, "1" * 64, "1.5"), ModelFile("a", 3, "0" * 64)) == "a is another file than the lock has"
    assert said(Verified("a", 3, "0" * 64, "1.5", "git id"), small) is None
    assert said(Verified("a", 3, "0" * 64, "1.5", "another"), small) == "a is another file than the lock has"
    # An earlier Ingot did not note what the hub calls small files.
    assert said(Verified("a", 3, "0" * 64, "1.5"), small) == "a was not yet compared with the lock"
    assert said(Verified("a", 3, "0" * 64, "1.5"), ModelFile("b", 3, "0" * 64)) == "a does not belong there"


def test_the_look_separates_what_is_published_from_what_is_on_its_way():
    state = parse_models(
        "1000 50 100 /srv",
        "f\t3\t1.5\t/m/a/config.json\nf\t9\t2.5\t/m/a.incomplete/x.safetensors.part\nf\t4\t3\t/m/a.incoming/0\n",
        "/m/a\teyJmaWxlcyI6IFt7InBhdGgi\n",
        ["/m/a"],
    )
    assert state.room == Room(1000, 50, "/srv")
    assert state.directories["/m/a"] == ModelDirectory(
        {"config.json": Found("f", 3, "1.5")},
        None,
        {"x.safetensors.part": Found("f", 9, "2.5")},
        {"0": Found("f", 4, "3")},
    )
