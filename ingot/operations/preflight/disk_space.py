"""Free space on a host's disks for what a deploy brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ingot.errors import IngotError
from ingot.facts.disk import IMAGE_ROOTS, DiskState
from ingot.facts.docker import DockerState
from ingot.facts.engine import STATE
from ingot.facts.host import HostState, Mount, Space
from ingot.operations.containers.takeover import parsed
from ingot.operations.weights.disk import Steps
from ingot.settings.cache import Cache
from ingot.settings.docker import Docker
from ingot.sizing import HostPlan

GIB = 1 << 30
#: Where Docker keeps images: its own root, or containerd's, which Docker installed from version 29 on uses instead.
DOCKER_ROOT, CONTAINERD_ROOT = IMAGE_ROOTS
CONTAINERD_SINCE = 29
#: Room below it for the engine's image, packed and unpacked, by engine_build.
IMAGE_BYTES = {"cuda": 40 * GIB, "cpu": 4 * GIB}
#: Room for packages and the module's build tree; on a host that is deployed, for logs and updates.
ROOT_BYTES, DEPLOYED_ROOT_BYTES = 5 * GIB, GIB
#: Room for what apt, sudo and package scripts write meanwhile.
TMP = "/tmp"
TMP_BYTES = 64 << 20
#: Tokenizer and configuration beside the weights, and the files that are being written.
MODEL_EXTRA_BYTES = 64 << 20
MINIMUM_INODES = 10_000
#: What engines compile and keep for one replica: torch.compile's and Triton's files are hundreds of megabytes.
COMPILED_BYTES = GIB


def image_root(found: DockerState | None, values: Docker) -> str:
    """Where dockerd will keep images: by daemon.json, what is there already, and the version that will run.

    A Docker that has data of a storage driver of its own keeps to it when it is upgraded.
    """
    try:
        there = parsed(found.config if found else None)
    except IngotError:
        there = {}
    config = {**there, **values.docker_daemon}
    root = str(config.get("data-root") or DOCKER_ROOT)
    features = {**there.get("features", {}), **values.docker_daemon.get("features", {})}
    if "containerd-snapshotter" in features:
        return CONTAINERD_ROOT if features["containerd-snapshotter"] else root
    if found is None or found.drivers:
        return root
    if found.version is None and values.docker_source == "docker":
        asked = (values.docker_version or "").rpartition(":")[2].partition(".")[0]
        return CONTAINERD_ROOT if not asked.isdigit() or int(asked) >= CONTAINERD_SINCE else root
    return CONTAINERD_ROOT if found.version and found.version[0] >= CONTAINERD_SINCE else root


def places(values: Docker, cache_root: str) -> list[str]:
    """The directories in which room may be needed."""
    roots = (str(values.docker_daemon.get("data-root") or DOCKER_ROOT), CONTAINERD_ROOT)
    return list(dict.fromkeys(["/", TMP, STATE, *roots, cache_root]))


def ahead(look: HostState, mount: str, disk: DiskState, steps: Steps) -> HostState:
    """The host as it will be once the disk for models is mounted, of which 5 % go to the file system's own tables.

    What else is to lie there has the room of the disk.
    """
    if steps.images:
        look = _beside(look, mount, steps.images)
    if not (steps.formats or steps.mounts):
        return look
    at = mount.rstrip("/")

    def below(path: str) -> bool:
        return path in steps.images or f"{path.rstrip('/')}/".startswith(f"{at}/")

    free = int(disk.bytes * 0.95)
    # ext4 makes an inode for each 16 KiB.
    spaces = (Space(one.path, free, free >> 14, at) if below(one.path) else one for one in look.spaces)
    mounts = (Mount(one.path, at, frozenset()) if below(one.path) else one for one in look.mounts)
    return replace(
        look,
        spaces=tuple(spaces),
        mounts=tuple(mounts),
        unmounted=tuple(one for one in look.unmounted if one.rstrip("/") != at),
    )


def _beside(look: HostState, mount: str, images: tuple[str, ...]) -> HostState:
    """The host with these directories on the file system that is mounted there already."""
    there = next((one for one in look.spaces if one.mount == mount.rstrip("/")), None)
    if there is None:
        return look
    spaces = (replace(there, path=one.path) if one.path in images else one for one in look.spaces)
    return replace(look, spaces=tuple(spaces))


def right_disk(look: HostState, values: Cache) -> Iterator[str]:
    """What keeps models off the disk that is meant for them: nothing may fill the root disk in its place."""
    root = values.cache_root.rstrip("/")
    on = next((one for one in look.mounts if one.path == values.cache_root), None)
    for target in look.unmounted:
        if f"{root}/".startswith(f"{target.rstrip('/')}/"):
            yield (
                f"{target} of /etc/fstab is not mounted, expected it mounted since cache_root ({root}) lies there and "
                f"models would fill {on.target if on else 'another disk'}; `mount {target}` on the host"
            )
            return
    if on is None:
        return
    if values.cache_mount and on.target != values.cache_mount.rstrip("/"):
        yield (
            f"cache_root ({root}) lies on {on.target}, expected {values.cache_mount} mounted there; mount it, or "
            "correct cache_mount"
        )
    elif "ro" in on.options:
        yield (
            f"cache_root ({root}) lies on {on.target}, which is mounted read-only, expected to write there; look at "
            f"its disk (`dmesg`), then `mount -o remount,rw {on.target}` on the host"
        )


def needed(
    look: HostState, cache_root: str, build: str, planned: HostPlan | None, images: str = DOCKER_ROOT
) -> dict[str, int]:
    """Bytes that a deploy needs below each directory.

    `images` is where Docker keeps them. A deployed host already holds its image and its models; the roles that add to
    them look again.
    """
    if look.is_deployed:
        return {"/": DEPLOYED_ROOT_BYTES, TMP: TMP_BYTES}
    return {
        "/": ROOT_BYTES,
        TMP: TMP_BYTES,
        STATE: COMPILED_BYTES * len(planned.replicas) if planned else 0,
        images: IMAGE_BYTES.get(build, IMAGE_BYTES["cuda"]),
        cache_root: model_bytes(planned) if planned else MODEL_EXTRA_BYTES,
    }


def room(look: HostState, needs: Mapping[str, int]) -> Iterator[str]:
    """Free room per file system, as sentences where it is short: what two directories on one disk need adds up."""
    by_mount: dict[str, list[str]] = {}
    for space in look.spaces:
        if needs.get(space.path):
            by_mount.setdefault(space.mount, []).append(space.path)
        if space.free_inodes < MINIMUM_INODES:
            yield (
                f"{space.free_inodes} free inodes on {space.mount}, expected {MINIMUM_INODES} or more; "
                "delete small files there"
            )
    for mount, paths in by_mount.items():
        wanted = sum(needs[path] for path in paths)
        free = next(space.free_bytes for space in look.spaces if space.mount == mount)
        if free < wanted:
            yield (
                f"{gib(free)} free on {mount}, expected {gib(wanted)} for {' and '.join(paths)}; "
                "free space, or mount a larger disk there"
            )


def model_bytes(planned: HostPlan) -> int:
    """What the weights of a plan take on disk, with a little to spare: each variant once, whatever its replicas."""
    sizes = {
        (one.model, one.variant): one.memory.weights.bytes * max(len(one.gpu_uuids), 1) for one in planned.replicas
    }
    return int(sum(sizes.values()) * 1.1) + MODEL_EXTRA_BYTES


def gib(number: int) -> str:
    """Bytes for people."""
    return f"{number / GIB:.1f} GiB"
