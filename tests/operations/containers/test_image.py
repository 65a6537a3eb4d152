"""What runs is pinned: an id for an archive, a digest for a registry, and one sentence for anything else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.facts.image import EngineImage, ImageLook
from ingot.operations.containers import image
from ingot.operations.containers.image import ImageSource, image_source
from ingot.operations.serving import images
from tests.operations.serving.onehost import VALUES, OneHost
from tests.settings.values import settings

DIGEST = "sha256:" + "a" * 64
ID = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("vllm/vllm-openai:v0.33.0", f"vllm/vllm-openai@{DIGEST}"),
        ("registry.example:5000/vllm/vllm-openai:v0.33.0", f"registry.example:5000/vllm/vllm-openai@{DIGEST}"),
        ("registry.example:5000/vllm-openai", f"registry.example:5000/vllm-openai@{DIGEST}"),
        ("vllm-openai", f"vllm-openai@{DIGEST}"),
    ],
)
def test_a_registry_image_is_named_by_its_digest(name: str, reference: str) -> None:
    assert image_source(settings(engine_image=name, engine_image_digest=DIGEST)) == ImageSource(reference, None)


def test_an_archive_image_is_named_by_its_id() -> None:
    found = settings(engine_image_archive="/srv/a.tar", engine_image_id=ID)
    assert image_source(found) == ImageSource(ID, "/srv/a.tar")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"engine_image": "v:1"}, "engine_image_digest is not set, expected the sha256:… digest of v:1"),
        ({"engine_image_archive": "/srv/a.tar"}, "engine_image_archive is /srv/a.tar and engine_image_id is not set"),
    ],
)
def test_a_tag_alone_is_refused(values: dict[str, str], sentence: str) -> None:
    with pytest.raises(IngotError) as refused:
        image_source(settings(**values))
    assert str(refused.value).startswith(sentence)


def test_engines_without_values_of_their_own_have_images_by_name() -> None:
    named = {"image": "lmsysorg/sglang:v0.5.23", "version": "0.5.23"}
    digested = settings(engine_images={"sglang": {**named, "digest": DIGEST}})
    assert image_source(digested, "sglang") == ImageSource(f"lmsysorg/sglang@{DIGEST}", None)
    kept = settings(engine_images={"sglang": {**named, "archive": "/srv/s.tar", "id": ID}})
    assert image_source(kept, "sglang") == ImageSource(ID, "/srv/s.tar")
    for values, sentence in (
        ({}, "engine_images has no image of sglang, expected {'sglang': {'image': …, 'version': …, 'digest': …}}"),
        ({"sglang": named}, "digest of engine_images['sglang'] is not set"),
        ({"sglang": {**named, "archive": "/a"}}, "archive of engine_images['sglang'] is /a and id of engine_images"),
    ):
        with pytest.raises(IngotError) as refused:
            image_source(settings(engine_images=values), "sglang")
        assert str(refused.value).startswith(sentence)


def test_an_image_that_is_there_is_left_alone() -> None:
    host = OneHost()
    host.answers[ImageLook] = EngineImage(True, ID)
    assert not host.run(images.brought)


def test_an_archive_that_is_nowhere_is_refused() -> None:
    host = OneHost()
    host.answers[ImageLook] = EngineImage()
    host.run(images.brought)
    assert host.refused == [
        f"gpu-01: the image archive {VALUES['engine_image_archive']} is neither on the host nor on this machine, "
        "expected a file made by `docker save`; correct engine_image_archive."
    ]


DOCKER = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$1" in
  version) exit 0;;
  pull) [ "$(grep -c '^pull' "$CALLS")" -gt "$REFUSALS" ] || { echo "toomanyrequests: slow down" >&2; exit 1; };;
  load) cat >/dev/null; [ "$BROKEN" = no ] || { echo "archive/tar: invalid tar header" >&2; exit 1; };;
  image) [ "$3" = "$HELD" ] || { echo "No such image" >&2; exit 1; };;
esac
"""


def run_script(tmp_path: Path, members: dict[str, str], **situation: str) -> tuple[int, str, list[str]]:
    """image.sh with a stand-in for docker. Returns: its status, its sentence, the calls of docker."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "calls").touch()
    for name, text in {"host": "gpu-01", "image": ID, "known": f"{tmp_path}/images", **members}.items():
        (tmp_path / name).write_text(text)
    script = image.SCRIPT.replace("PATH=/usr", f"PATH={tmp_path}:/usr").replace("sleep", ":")
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(tmp_path), str(tmp_path / "log")],
        env={"CALLS": str(tmp_path / "calls"), "REFUSALS": "0", "BROKEN": "no", "HELD": ID, **situation},
        capture_output=True, timeout=180, check=False,
    )  # fmt: skip
    sentence = tmp_path / "sentence"
    return (
        done.returncode,
        sentence.read_text() if sentence.exists() else "",
        (tmp_path / "calls").read_text().split("\n"),
    )


@pytest.mark.parametrize(("held", "listed"), [("another", f"{ID}\n"), (ID, None)], ids=["brought", "here before"])
def test_only_what_ingot_brought_is_listed_as_its_own(tmp_path: Path, held: str, listed: str | None) -> None:
    for _ in range(2):
        run_script(tmp_path, {}, HELD=held)
    known = tmp_path / "images"
    assert (known.read_text() if known.exists() else None) == listed


def test_a_busy_registry_is_asked_again(tmp_path: Path) -> None:
    status, _, calls = run_script(tmp_path, {}, REFUSALS="2")
    assert status == 0 and calls.count(f"pull {ID}") == 3


def test_a_registry_that_goes_on_refusing_is_quoted(tmp_path: Path) -> None:
    status, sentence, calls = run_script(tmp_path, {}, REFUSALS="9")
    assert status == 1 and calls.count(f"pull {ID}") == 4
    assert sentence.startswith(f"gpu-01: image {ID} could not be pulled in 4 attempts (toomanyrequests: slow down)")


@pytest.mark.parametrize(
    ("situation", "status", "said"),
    [
        ({}, 0, ""),
        ({"BROKEN": "yes"}, 1, "could not be loaded (archive/tar: invalid tar header)"),
        ({"HELD": "another"}, 1, f"holds no {ID}"),
    ],
)
def test_an_archive_is_loaded_and_must_hold_the_image(
    tmp_path: Path, situation: dict[str, str], status: int, said: str
) -> None:
    archive = tmp_path / "pushed.tar"
    archive.write_text("an archive")
    found, sentence, _ = run_script(tmp_path, {"archive": str(archive), "pushed": ""}, **situation)
    assert found == status and said in sentence
    assert not archive.exists(), "what was pushed does not stay"


@pytest.mark.speed
def test_an_image_that_begins_to_come_early_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    for name in ("begun", "joined", "commands"):
        monkeypatch.setattr(image.detached, name, lambda *_, did=did, name=name: did.append(name) or iter(()))
    host = OneHost()
    host.answers[ImageLook] = EngineImage(archive_bytes=4)
    host.run(images.begun)
    host.run(images.brought)
    assert did == ["begun", "joined", "commands"], "what began is waited for, and begins anew where that was in vain"
    did.clear()
    for found in (EngineImage(), EngineImage(True, ID)):
        host.answers[ImageLook] = found
        host.run(images.begun)
    assert not did, "an archive that this machine pushes waits for its turn, and one that is there stays"
