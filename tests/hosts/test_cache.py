"""The weights that are served are the ones that were verified, and nobody but root may change them."""

from __future__ import annotations

import json

from ingot.facts.models import MARKER, Found, ModelDirectory, parse_damage, parse_marker
from ingot.operations.weights.manifest import ModelFile, chosen
from ingot.operations.weights.models import trouble
from tests.hosts.look import Look
from tests.hosts.target import Target

#: A host that only fronts others has none of this.
OF_SERVING_HOSTS = True


def _directories(look: Look) -> dict[str, ModelDirectory]:
    """The directories that are mounted as models, as they were verified and as they are."""
    markers = {path: json.dumps(json.loads(text)) for path, _, text in _cells(look, "markers")}
    found = {}
    for path, marker in markers.items():
        entries = {
            line[5].removeprefix(f"{path}/"): Found(line[0], int(line[1]), line[2])
            for line in (one.split("\t") for one in look.lines("models"))
            if line[5].startswith(f"{path}/")
        }
        found[path] = ModelDirectory(entries, parse_marker(marker))
    return found


def _cells(look: Look, question: str) -> list[tuple[str, str, str]]:
    return [line.partition("\t") for line in look.lines(question)]


def _file(target: Target, path: str) -> str | None:
    """The one GGUF file that a directory has, where its variant is one."""
    variants = [one for model in target.values.models.values() for one in model.variants]
    return next((one.file for one in variants if path.endswith(f"/{one.directory}") and one.file), None)


def _is_model(path: str) -> bool:
    return path == "/model" or path.startswith("/model/")


def test_every_served_model_is_as_it_was_verified(target: Target, look: Look) -> None:
    mounted = {mount["Source"] for one in look.engines for mount in one["Mounts"] if _is_model(mount["Destination"])}
    target.expect(mounted, "no engine has a model; deploy")
    unverified = sorted(path for path, _, text in _cells(look, "markers") if not text.startswith("{"))
    target.expect(not unverified, f"never verified ({MARKER} is missing): {', '.join(unverified)}; deploy again")
    wrong = {path: why for path, found in _directories(look).items() if (why := trouble(found))}
    target.expect(not wrong, f"{'; '.join(f'{path}: {why}' for path, why in wrong.items())}; deploy again")


def test_no_weights_have_rotted_on_the_disk(target: Target, look: Look) -> None:
    found = parse_damage(look.text("damage"))
    said = "; ".join(f"{one.path} {one.why}, found {one.since}" for one in found)
    target.expect(not found, f"{said}; deploy again, which fetches it anew")


def test_every_served_model_is_the_one_of_the_lock(target: Target, look: Look) -> None:
    lock = target.values.lock
    for path, found in _directories(look).items():
        for locked in lock.repositories.values() if lock else ():
            if path.endswith(f"/{locked.commit}"):
                wanted = [ModelFile(one.path, one.bytes, one.sha256, one.git_sha1) for one in locked.files]
                why = trouble(found, chosen(wanted, path, _file(target, path)))
                target.expect(not why, f"{path}: {why}; deploy again")


def test_models_lie_in_the_cache(target: Target, look: Look) -> None:
    root = f"{target.values.cache_root}/"
    others = [path for path, _, _ in _cells(look, "markers") if not path.startswith(root)]
    target.expect(not others, f"served from elsewhere than {root}: {', '.join(others)}; deploy again")


def test_only_root_may_write_weights(target: Target, look: Look) -> None:
    cells = [line.split("\t") for line in look.lines("models")]
    loose = [line[5] for line in cells if line[3] != "0" or int(line[4], 8) & 0o022]
    target.expect(not loose, f"others than root may change {', '.join(loose[:5])}; deploy again")
