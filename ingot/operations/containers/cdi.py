"""GPUs for containers by CDI: the toolkit at one version, a specification of the GPUs, and dockerd that knows it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.cdi import GENERATED, REFRESHED, Cdi, CdiState
from ingot.facts.errors import Unread
from ingot.facts.smi_fault import GpuFault
from ingot.operations import changes, gpus_use, packages
from ingot.operations.described_sources import place
from ingot.operations.gpus_use import Use
from ingot.operations.operation import operation
from ingot.operations.package_source import Source, upstream
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing
from ingot.settings import of_host
from ingot.settings.sources import Upstreams

#: From 1.18 on, each package depends on the others at exactly its own version.
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
#: What older toolkits had in packages of their own. daemon.json of nvidia-docker2 stays, and so does what it names.
REPLACED = ("nvidia-docker2", "nvidia-container-runtime", "nvidia-container-runtime-hook")
#: dockerd watches the specification directories; it sees a new file within moments.
DOCKER_TIMEOUT_S = 15


def problem(state: CdiState) -> str | None:
    """What keeps containers from the GPUs, without the host's name; None when all is well."""
    fault = state.gpus.fault
    if fault:
        return f"{fault.found}; {fault.remedy}"
    if state.spec is None:
        return (
            f"no CDI specification at {REFRESHED if state.has_refresh_unit else GENERATED}, expected one; "
            "read `journalctl -u nvidia-cdi-refresh` on the host"
        )
    if not state.is_current:
        return (
            "the CDI specification does not name exactly the GPUs and the driver of this host; "
            "read `nvidia-ctk cdi list` and `journalctl -u nvidia-cdi-refresh` on the host"
        )
    if state.docker is None:
        return "dockerd does not answer, expected its CDI devices; read `systemctl status docker` on the host"
    if not state.docker.directories:
        return "dockerd has CDI off, expected it on; set features.cdi in /etc/docker/daemon.json (the docker role does)"
    path = REFRESHED if state.has_refresh_unit else GENERATED
    if not any(_is_below(path, directory) for directory in state.docker.directories):
        return (
            f"dockerd reads CDI specifications of {', '.join(state.docker.directories)} and not {path}, expected both; "
            "remove cdi-spec-dirs from /etc/docker/daemon.json and run `systemctl restart docker` on the host"
        )
    if state.docker.devices is not None and not state.uuids <= state.docker.devices:
        missing = sorted(state.uuids - state.docker.devices)[0]
        return f"dockerd does not list {missing} among its CDI devices; run `systemctl restart docker` on the host"
    return None


def _is_below(path: str, directory: str) -> bool:
    """Whether a path lies below a directory; /run and /var/run are the same place."""
    parent, given = (one.rstrip("/").removeprefix("/var") for one in (path.rpartition("/")[0], directory))
    return parent == given


def narrowed(state: CdiState | Unread, use: Use) -> CdiState | Unread:
    """The part of the look that concerns GPUs that Ingot may use; `use` is the value gpus_use.

    Raises: IngotError, one sentence without the host's name, when it names a GPU that is not there.
    """
    if isinstance(state, Unread) or use is None:
        return state
    found = gpus_use.answering(state.gpus.fault or state.gpus.gpus, use)
    if isinstance(found, GpuFault):
        return state
    return replace(state, gpus=replace(state.gpus, fault=None), used=frozenset(gpu.uuid for gpu in found))


def regenerate(state: CdiState) -> str:
    """The command that writes the specification again, with the tool that writes it on this host."""
    if state.has_refresh_unit:
        # Two descriptions of one device are a conflict. Somebody may have written this one: it is moved, not deleted.
        aside = f"if [ -e {GENERATED} ]; then mv -f --backup=numbered {GENERATED} {GENERATED}.before-ingot; fi"
        return f"{aside} && systemctl restart nvidia-cdi-refresh.service"
    return f"rm -f {REFRESHED} && mkdir -p /etc/cdi && nvidia-ctk cdi generate --output={GENERATED}"


def is_listed(state: CdiState) -> str:
    """A command that waits until dockerd lists the devices, where its version can say so."""
    wanted = sorted(state.uuids)
    checks = " && ".join(f"echo \"$d\" | grep -q '{uuid}'" for uuid in wanted) or "true"
    return (
        f"i=0; while [ $i -lt {DOCKER_TIMEOUT_S} ]; do d=$(docker info --format '{{{{json .}}}}' 2>/dev/null); "
        f'echo "$d" | grep -q DiscoveredDevices || break; {{ {checks}; }} && break; sleep 1; i=$((i + 1)); done; true'
    )


def source(sources: Upstreams) -> Source:
    """The toolkit's repository; a site that mirrors both of NVIDIA's in one place has one description of it.

    apt refuses the same repository under two keyrings.
    """
    own, driver = sources.nvidia_toolkit, sources.nvidia_driver
    shared = place(own.uri, own.suite, "") == place(driver.uri, driver.suite, "")
    return upstream("nvidia" if shared else "nvidia-toolkit", own, "")


@operation()
def cdi() -> Generator[PyinfraCommand, None, None]:
    """
    Have the container toolkit installed and every GPU known to dockerd under its UUID.

    Values read from the host: toolkit_version and sources["nvidia_toolkit"].

    **Example:**

    .. code:: python

        cdi.cdi(name="Give GPUs to containers")
    """
    values = of_host(host)
    yield from packages.packages._inner(
        names=tuple(f"{name}={values.toolkit_version}-*" for name in PACKAGES),
        sources=(source(values.sources),),
        holds=PACKAGES,
        yields=REPLACED,
    )
    state = narrowed(standing(host, Cdi), values.gpus_use)
    if isinstance(state, CdiState) and not state.gpus.fault and not state.is_current:
        changes.announce([f"describe {len(state.gpus.gpus)} GPUs to containers (CDI)"])
        yield StringCommand(regenerate(state))
        yield StringCommand(is_listed(state))
        state = narrowed(standing(host, Cdi), values.gpus_use)
    if isinstance(state, Unread):
        yield refuse(state.sentence(host.name))
    elif wrong := problem(state):
        yield refuse(f"{host.name}: {wrong}.")
