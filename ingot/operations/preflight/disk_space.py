"""Free space on a host's disks for what a deploy brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ingot.facts.host import HostState
from ingot.sizing import HostPlan

GIB = 1 << 30
#: Room below /var/lib/docker for the engine's image, packed and unpacked, by engine_build.
DOCKER_ROOT = "/var/lib/docker"
IMAGE_BYTES = {"cuda": 40 * GIB, "cpu": 4 * GIB}
#: Room for packages and the module's build tree; on a host that is deployed, for logs and updates.
ROOT_BYTES, DEPLOYED_ROOT_BYTES = 5 * GIB, GIB
#: Room for what apt, sudo and package scripts write meanwhile.
TMP = "/tmp"
TMP_BYTES = 64 << 20
#: Tokenizer and configuration beside the weights, and the files that are being written.
MODEL_EXTRA_BYTES = 64 << 20
MINIMUM_INODES = 10_000


def needed(look: HostState, cache_root: str, build: str, planned: HostPlan | None) -> dict[str, int]:
    """Bytes that a deploy needs below each directory.

    A deployed host already holds its image and its models; the roles that add to them look again.
    """
    if look.is_deployed:
        return {"/": DEPLOYED_ROOT_BYTES, TMP: TMP_BYTES}
    return {
        "/": ROOT_BYTES,
        TMP: TMP_BYTES,
        DOCKER_ROOT: IMAGE_BYTES.get(build, IMAGE_BYTES["cuda"]),
        cache_root: model_bytes(planned) if planned else MODEL_EXTRA_BYTES,
    }


def room(look: HostState, needs: Mapping[str, int]) -> Iterator[str]:
    """Free room per file system, as sentences where it is short: what two directories on one disk need adds up."""
    by_mount: dict[str, list[str]] = {}
    for space in look.spaces:
        if space.path in needs:
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
    sizes = {(one.model, one.variant): one.memory.weights.bytes * len(one.gpu_uuids) for one in planned.replicas}
    return int(sum(sizes.values()) * 1.1) + MODEL_EXTRA_BYTES


def gib(number: int) -> str:
    """Bytes for people."""
    return f"{number / GIB:.1f} GiB"
