"""The driver's packages: which ones a decision needs, at which versions, and in which order they are installed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Literal

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.compat import Decision, Fabric
from ingot.compat import Source as Origin
from ingot.facts.apt_sources import AptSources
from ingot.facts.driver import DriverState
from ingot.facts.errors import Unread
from ingot.facts.packages import Apt, AptLook
from ingot.operations import changes, packages
from ingot.operations.driver import debian_archive, transaction
from ingot.operations.driver.state import PREBUILT, as_decided, may_go, next_kernel, older_modules, rivals, unbuilt
from ingot.operations.package_source import Extension, Source, upstream
from ingot.operations.packages import PackagesPlan, Pin
from ingot.operations.standing import standing
from ingot.settings import of_host


def sources(decision: Decision) -> tuple[Source | Extension, ...]:
    """Where the decision's packages come from, as far as the host does not know it."""
    repository = decision.packages.repository
    if repository:
        return (upstream("nvidia", of_host(host).sources.nvidia_driver, repository),)
    described = standing(host, AptSources) if decision.source is Origin.DEBIAN else ()
    more = None if isinstance(described, Unread) else debian_archive.extension(described)
    return (more,) if more else ()


def install(
    decision: Decision, state: DriverState, origins: Sequence[Source | Extension], *, mode: Literal["begin", "continue"]
) -> Generator[PyinfraCommand, None, bool]:
    """Packages as decided and the module for every kernel, or all as before. Returns: whether it changed any.

    `mode` begins a transaction, or continues the one that is open.
    """
    change = _changes(decision, state, origins)
    # Only DKMS builds modules here: prebuilt ones are installed or not.
    missing = unbuilt(state) if decision.packages.headers else ()
    if not change.lines and not missing:
        host.noop("the driver's packages are installed as decided")
        return False
    drain = of_host(host).driver_disrupt and not as_decided(decision, state)
    if drain and state.users:
        changes.announce(["stop the engine's replicas until the engine role starts them again"])
    changes.announce(change.sentences)
    changes.announce(f"build the NVIDIA module for kernel {kernel}" for kernel in missing)
    yield from transaction.commands(change, mode=mode, drain=drain, remedy=remedy(decision, state.kernel))
    return True


def _changes(decision: Decision, state: DriverState, origins: Sequence[Source | Extension]) -> PackagesPlan:
    """What apt has to do for the decision; asks the host what apt and dpkg know."""
    chosen = decision.packages
    # Where the branch's newest is taken its version is known only once it is installed.
    version = decision.version or (state.on_disk if as_decided(decision, state) else None)
    companions = _companions(decision, version) if version else ()
    names = (*chosen.headers, *_umad(decision, state), *versioned(decision, chosen.driver), *companions)
    holds = (*chosen.driver, *chosen.kernels, *(chosen.companions if version else ()))
    gone = rivals(decision, state)
    look = _apt_look((*names, *((chosen.pin,) if chosen.pin else ()), *holds, *gone), origins, pins(decision))
    prebuilt = tuple(name for name in chosen.driver if name.startswith(PREBUILT)) if chosen.kernels else ()
    if prebuilt and state.on_disk is None and not next_kernel(state):
        # They are installed, but no kernel here can run them since another kernel came by itself: install them anew.
        look = replace(look, installed={name: now for name, now in look.installed.items() if name not in prebuilt})
    return plan(
        look,
        chosen.pin,
        names,
        origins,
        pins(decision),
        holds,
        gone,
        (*chosen.kernels, *prebuilt),
        (*older_modules(decision, state), *may_go(decision, state)),
    )


def plan(
    look: AptLook,
    pin: str | None,
    names: Sequence[str],
    origins: Sequence[Source | Extension],
    preferences: Sequence[Pin],
    holds: Sequence[str],
    replaced: Sequence[str],
    along: Sequence[str] = (),
    yields: Sequence[str] = (),
) -> PackagesPlan:
    """The steps in their order: the branch's pin first, or apt would resolve dependencies to the newest branch.

    `replaced` are packages to remove; `along` and `yields` are those of `packages.compare`.
    """
    old_pins = tuple(name for name in replaced if "-pinning-" in name)
    others = tuple(name for name in replaced if name not in old_pins)
    lines: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    if pin and pin not in look.installed:
        first = packages.compare(look, (pin,), origins, preferences, absent=old_pins)
        lines, sentences = first.lines, first.sentences
        look, origins, preferences = replace(look, broken=()), (), ()
    else:
        others = tuple(replaced)
    rest = packages.compare(look, names, origins, preferences, holds, others, along=along, yields=yields)
    return PackagesPlan((*lines, *rest.lines), (*sentences, *rest.sentences))


def versioned(decision: Decision, names: tuple[str, ...]) -> tuple[str, ...]:
    """Packages at the decision's version, or at any version of its branch; prebuilt modules have their kernel's."""
    glob = f"{decision.version}-*" if decision.version else f"{decision.branch}.*"
    return tuple(name if name.startswith(PREBUILT) else f"{name}={glob}" for name in names)


def _umad(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Ubuntu keeps ib_umad, which the fabric manager of an NVLink 5 board needs, out of its cloud kernels."""
    wanted = decision.fabric is Fabric.FABRIC_MANAGER_NVLINK5 and not state.ib_umad and state.os.id == "ubuntu"
    return (f"linux-modules-extra-{state.kernel}",) if wanted else ()


def _companions(decision: Decision, version: str) -> tuple[str, ...]:
    """What must equal the driver's upstream version; Debian revisions differ between the two."""
    return (*(f"{name}={version}-*" for name in decision.packages.companions), *decision.packages.tools)


def pins(decision: Decision) -> tuple[Pin, ...]:
    """Keep the driver's packages of another origin out: a module of one with a library of the other does not run."""
    origin = decision.packages.rival_origin
    if origin is None:
        return ()
    return (Pin("nvidia-origin", ("*nvidia*", "libcuda*", "cuda-drivers*"), f"release o={origin}", -1),)


def remedy(decision: Decision, kernel: str) -> str:
    """What to do when the module of a decision does not build."""
    if decision.source is Origin.UBUNTU:
        return "see whether Ubuntu's archive carries these packages for the host's kernel (`apt-cache policy`)"
    if decision.source is Origin.DEBIAN:
        return (
            "set driver_source to nvidia and driver_branch to one of NVIDIA's, which follow new kernels, "
            "or boot an older kernel and remove this one"
        )
    now = f"another than {decision.version}" if decision.version else "one whose release notes name this kernel"
    return (
        f"set driver_version to {now}, or driver_branch to a newer branch, or boot an older kernel and remove this one "
        f"({kernel} runs now)"
    )


def _apt_look(names: Sequence[str], origins: Sequence[Source | Extension], preferences: Sequence[Pin]) -> AptLook:
    """What apt and dpkg say now of these packages, sources and pins."""
    look: AptLook = standing(
        host,
        Apt,
        names=list(dict.fromkeys(name.partition("=")[0] for name in names)),
        files=[source.path for source in origins] + [pin.path for pin in preferences],
        keyrings=[source.keyring for source in origins if isinstance(source, Source)],
    )
    return look
