"""What a deploy does with descriptions of package sources that it finds, and whether apt can read them at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingot.compat import Refused, decide
from ingot.facts.archive import ArchiveState
from ingot.facts.host import HostState
from ingot.operations import archive
from ingot.operations.containers import cdi
from ingot.operations.described_sources import others, places
from ingot.operations.driver.request import driver_request
from ingot.operations.gateway.nginx_packages import WITHOUT_NJS
from ingot.operations.package_source import Source, upstream, vendor
from ingot.settings import Settings

_CONFLICT = re.compile(r"Conflicting values set for option \S+ regarding source (\S+) ([^\s:]+)")


def sources(look: HostState, values: Settings, *, fronts: bool) -> tuple[Source, ...]:
    """The package sources that the roles would add to this host."""
    found: list[Source] = []
    os = look.driver.os
    if not fronts:
        try:
            machine = look.driver.machine(values.driver_console, partial=values.gpus_use is not None)
            repository = decide(machine, driver_request(values)).packages.repository
        except Refused:
            repository = None
        if repository:
            found.append(upstream("nvidia", values.sources.nvidia_driver, repository))
        if values.docker_source == "docker" and values.sources.docker:
            architecture = look.described.architecture
            found.append(vendor("docker", values.sources.docker, os.id, look.codename, architecture))
        found.append(cdi.source(values.sources))
    asked = values.gateway_packages == "nginx.org" or (os.id, os.version) in WITHOUT_NJS
    if asked and values.sources.nginx:
        found.append(vendor("nginx", values.sources.nginx, os.id, look.codename))
    return tuple({source.path: source for source in found}.values())


def notes(look: HostState, values: Settings, *, fronts: bool) -> Iterator[str]:
    """What happens to descriptions of others, one sentence for each file and source."""
    state = ArchiveState(look.driver.os.id, look.codename, look.described)
    for path in archive.switched_off_files(state, values.sources.distribution):
        yield (
            f"{path} describes the distribution's archive, and `sources` has another; the deploy switches that off in "
            f"the step in which it adds {archive.PATH}, and keeps a copy that `ingot decommission` puts back"
        )
    for source in sources(look, values, fronts=fronts):
        theirs = others(source, look.described)
        if theirs.used:
            yield f"{theirs.used} describes package source {source.name} as it should be, and is used"
        for edit in theirs.edits:
            yield (
                f"{edit.path} describes package source {source.name} ({' '.join(source.all_uris)}) without trusting "
                "exactly the key that `sources` expects; the deploy switches that off in the step in which it adds "
                f"{source.path}, and keeps a copy that `ingot decommission` puts back"
            )


def findings(look: HostState, values: Settings, *, fronts: bool) -> Iterator[str]:
    """Why apt reads none of its sources, where a deploy would not mend that."""
    if not look.apt_fault:
        return
    conflict = _CONFLICT.search(look.apt_fault)
    if conflict:
        ours = sources(look, values, fronts=fronts)
        known = frozenset[tuple[str, str]]().union(
            *(places(one.all_uris, one.all_suites, look.described.architecture) for one in ours)
        )
        if places((conflict[1],), (conflict[2],), look.described.architecture) & known:
            return
    yield (
        f"apt cannot read its package sources ({look.apt_fault.rstrip('.')}), expected sources that it reads; correct "
        "/etc/apt/sources.list and what is below /etc/apt/sources.list.d until `apt-get update` works on the host"
    )
