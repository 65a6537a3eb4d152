"""A newer kernel for a host whose running one has no headers any more: installed with its headers, and booted."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.compat import headers_meta
from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.operations import changes, detached, packages, reboot
from ingot.operations.packages import PackagesPlan
from ingot.operations.refuse import refuse

LOCK_TIMEOUT_S = 300


def upgrade(state: DriverState, *, may_disrupt: bool) -> Generator[PyinfraCommand, None, None]:
    """Bring the kernel's meta packages and their headers to the newest version, and reboot into it.

    A driver that runs goes on with the new kernel where its module is built for it: the driver's own change follows.
    """
    if state.users and not may_disrupt:
        yield refuse(
            f"{host.name}: kernel {state.kernel} would be replaced by a reboot while {', '.join(state.users[:3])} use "
            "the GPUs, expected nobody; stop them, or set driver_disrupt to true for this run."
        )
        return
    plan = newest_kernel(state)
    changes.announce(plan.sentences)
    members = packages.members(plan, host.name, LOCK_TIMEOUT_S)
    yield from detached.commands("ingot-packages", packages.RUN, members, packages.LIMIT_S)
    yield from reboot.reboot._inner(needed=_reboot_reason)


def newest_kernel(state: DriverState) -> PackagesPlan:
    """The steps of `packages.sh`: every kernel meta package that is installed, with the headers that follow it."""
    headers = [name for meta in state.kernel_metas if (name := headers_meta(meta))]
    names = " ".join(dict.fromkeys((*state.kernel_metas, *headers)))
    options = "--no-install-recommends --allow-change-held-packages"
    return PackagesPlan(
        ("removable\t-", f"install\t{options}\t{names}"),
        tuple(f"bring {name} to its newest version" for name in names.split()),
    )


def _reboot_reason() -> str | None:
    look = host.get_fact(Driver)
    if not isinstance(look, DriverLook) or not look.state.lacks_headers:
        return None
    newest = look.state.headers.newest if look.state.headers else None
    return f"kernel {look.state.kernel} runs, which has no headers, and {newest} is installed with its own"
