"""A bundle made: what each host of an inventory needs, gathered on a machine with internet, and signed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from pyinfra.api.host import Host

from ingot.bundle import manifest as manifests
from ingot.bundle.checkout import checkout
from ingot.bundle.images import Image, image, values_of
from ingot.bundle.manifest import Manifest
from ingot.bundle.packages import Packages
from ingot.bundle.store import OBJECTS, WORK, Entry, Store
from ingot.bundle.target import Target
from ingot.bundle.weights import weights
from ingot.bundle.wishes import at_bundle, wish
from ingot.engines import ENGINES, VLLM
from ingot.errors import IngotError
from ingot.operations import monitored
from ingot.operations.containers.image import image_source
from ingot.operations.gateway import fronting
from ingot.operations.preflight.disk_space import CONTAINERD_ROOT, image_root
from ingot.operations.preflight.findings import Wanted, planned_now
from ingot.operations.serving.planning import Planned
from ingot.secrets import bundle_key
from ingot.settings import Settings, of_host


@dataclass(frozen=True)
class Made:
    """A bundle that was made, and how much of it earlier ones did not have."""

    manifest: Manifest
    new: int
    new_bytes: int
    fingerprint: str


def create(
    directory: Path,
    targets: Sequence[tuple[Host, Target]],
    key: ed25519.Ed25519PrivateKey,
    root: Path | None,
    *,
    since: Manifest | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Made:
    """Gather what these hosts need below `directory`, and sign it; `root` is the checkout, None to leave Ingot out.

    With `since`, objects that this earlier bundle lists are left out: the site has them. An interrupted run is taken up
    by the next one.

    Raises: IngotError, one sentence that names the host.
    """
    _refuse_foreign(directory)
    known = frozenset(one.sha256 for one in since.files) if since else frozenset[str]()
    store = Store(directory, known=known, say=say)
    work = directory.absolute() / WORK
    shutil.rmtree(work / "checkout", ignore_errors=True)
    packages = Packages(store, work / "tree", work / "apt", say)
    hosts: dict[str, tuple[str, ...]] = {}
    values: dict[str, Mapping[str, Any]] = {}
    images: dict[str, Mapping[str, str | None]] = {}
    files: dict[str, Entry] = {}
    for host, target in targets:
        try:
            needed, said, brought = _of_host(store, packages, host, target, work, say)
        except IngotError as error:
            sentence = str(error)
            raise IngotError(sentence if sentence.startswith(host.name) else f"{host.name}: {sentence}") from None
        files |= {one.path: one for one in needed}
        hosts[host.name] = tuple(sorted({one.path for one in needed}))
        values[host.name] = said
        images |= {one.entry.path: {"config": one.config, "manifest": one.manifest} for one in brought}
    if root:
        say("fetching Ingot's own packages")
        files |= {one.path: one for one in checkout(store, root, work / "checkout")}
    now = int(time.time())
    made = Manifest(
        now,
        datetime.fromtimestamp(now, UTC).isoformat(),
        tuple(files[path] for path in sorted(files)),
        hosts,
        values,
        images,
    )
    new = {one.sha256: one.bytes for one in made.files if one.sha256 not in known}
    _keep_only(store, {one.sha256 for one in made.files} - known)
    content = manifests.text(made).encode()
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory / manifests.MANIFEST, content)
    _replace(directory / manifests.SIGNATURE, key.sign(content))
    store.done()
    return Made(made, len(new), sum(new.values()), bundle_key.fingerprint(bundle_key.public_pem(key)))


def _of_host(
    store: Store, packages: Packages, host: Host, target: Target, work: Path, say: Callable[[str], None]
) -> tuple[list[Entry], Mapping[str, Any], list[Image]]:
    settings: Settings = of_host(host)
    fronts = fronting.is_front(host)
    watched, watches = monitored.is_monitored(host), monitored.is_monitor(host)
    wanted = wish(target.look, settings, fronts=fronts, watched=watched, watches=watches)
    needed = list(packages.of(host.name, target, wanted))
    said: dict[str, Any] = {"sources": at_bundle(settings), "gateway_certificate": "internal"}
    if settings.gateway_certificate != "acme":
        said["gateway_certificate"] = settings.gateway_certificate
    brought: list[Image] = []
    images: dict[str, Any] = {}
    if settings.serve and not fronts:
        planned, why_not = planned_now(target.look, Wanted(host.name, settings))
        if planned is None or why_not:
            raise IngotError(f"{why_not or 'no GPU is seen that a model could be planned for'}.")
        for engine in _engines(settings, planned):
            say(f"{host.name}: the image of {ENGINES[engine].title}")
            one = image(store, settings, engine, work)
            brought.append(one)
            needed.append(one.entry)
            placed = values_of(settings, engine, f"{{base}}/{one.entry.path}", _id(one, target, settings))
            images |= placed.pop("engine_images", {})
            said |= placed
        if images:
            said["engine_images"] = images
        say(f"{host.name}: weights")
        needed += weights(store, settings, planned)
    return needed, said, brought


def _engines(settings: Settings, planned: Planned) -> list[str]:
    """The engines whose images a host needs: what its plan names, and vLLM's, of which filter and acceptance run."""
    named = [one.engine for one in planned.plan.replicas]
    try:
        image_source(settings, VLLM.name)
    except IngotError:
        # Nobody pinned it: what would run from it is not wanted here.
        return list(dict.fromkeys(named))
    return list(dict.fromkeys([VLLM.name, *named]))


def _id(one: Image, target: Target, settings: Settings) -> str:
    """What the host's Docker will call the image, by the store that it keeps images in."""
    if image_root(target.look.docker, settings) != CONTAINERD_ROOT:
        return one.config
    if one.manifest is None:
        raise IngotError(
            "its Docker keeps images in containerd's store, which calls them by their manifest, and the archive "
            f"{one.entry.origin} has none; make it with `docker save` of Docker 25 or newer."
        )
    return one.manifest


def _refuse_foreign(directory: Path) -> None:
    """What is there is deleted where a bundle does not need it: so it must be a bundle's."""
    ours = {manifests.MANIFEST, manifests.SIGNATURE, WORK, OBJECTS}
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    if there and not (there <= ours and (WORK in there or manifests.MANIFEST in there)):
        raise IngotError(f"{directory} has other files than a bundle's, expected an empty directory; name another.")


def _keep_only(store: Store, wanted: Iterable[str]) -> None:
    """Delete objects of earlier runs that the bundle does not need; the store has no others."""
    kept = frozenset(wanted)
    for group in (store.root / OBJECTS).glob("[0-9a-f][0-9a-f]"):
        for file in group.iterdir():
            if file.name not in kept:
                file.unlink()


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)
