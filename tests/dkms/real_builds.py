"""The NVIDIA module built for real by DKMS, from Debian's own archive: no simulation (`make test-driver`).

It takes minutes of both cores, so it is no part of `make test`: pytest finds this file only by its name.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.compat import Card, DriverRequest, Machine, Source, decide
from ingot.facts.apt_sources import AptSources
from ingot.facts.driver import Driver, DriverLook
from ingot.facts.errors import Unread
from ingot.operations.driver import debian_archive
from ingot.sandbox import Sandbox, TestHost
from tests.e2e.deploying import PYINFRA, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.timeout(3600)]

BUILD_LIMIT_S = 2400
T4 = 0x1EB8
APT = "DEBIAN_FRONTEND=noninteractive nice apt-get install --yes --quiet --no-install-recommends"
#: The kernel of a test host is this machine's, for which Debian has no headers: its own current kernel stands in for
#: it, as it would run on a server.
KERNEL = "ls -d /lib/modules/*/build | cut -d/ -f4"
PRETEND = """mv /lib/modules/$(uname -r) /root/
cat >/usr/local/bin/uname <<'END'
#!/bin/sh
[ "$*" = -r ] && echo {kernel} || exec /usr/bin/uname "$@"
END
chmod 755 /usr/local/bin/uname"""
BRANCHES = {"12": 535, "13": 550}


@pytest.fixture
def debian(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[TestHost, str]]:
    """A host that runs Debian's current kernel, as far as DKMS can tell, and that kernel's release."""
    version = str(request.param)
    # A sandbox of its own: builds take longer than others leave theirs standing. The inventory finds it here, too.
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path / "state"))
    sandbox = Sandbox()
    host = sandbox.up(f"dkms-{version}", profile="a10gx4", os=f"debian{version}", timeout_s=180)
    host.succeeds(f"apt-get update --quiet && {APT} linux-headers-amd64", timeout_s=600)
    kernel = host.succeeds(KERNEL).strip()
    host.succeeds(PRETEND.format(kernel=kernel))
    yield host, kernel
    sandbox.down_all()


def look(host: TestHost) -> DriverLook:
    """What Ingot reads on the host."""
    seen = Driver().process(host.succeeds(Driver().command()).splitlines())
    assert isinstance(seen, DriverLook)
    return seen


@pytest.mark.parametrize("debian", ["12"], indirect=True)
def test_debian_12_builds_its_own_driver_for_its_own_kernel(debian: tuple[TestHost, str]) -> None:
    host, kernel = debian
    described = AptSources().process(host.succeeds(AptSources().command()).splitlines())
    assert not isinstance(described, Unread)
    more = debian_archive.extension(described)
    assert more
    host.put(more.path, more.text)
    host.succeeds("apt-get update --quiet", timeout_s=300)
    decision = decide(
        Machine((Card(T4),), os_version="12", kernel=kernel, kernel_metas=("linux-image-amd64",)),
        DriverRequest(branch=BRANCHES["12"], source=Source.DEBIAN),
    )
    names = [*decision.packages.headers, *(f"{name}={decision.branch}.*" for name in decision.packages.driver)]
    host.succeeds(f"{APT} {' '.join(repr(name) for name in names)}", timeout_s=BUILD_LIMIT_S)
    # Debian's own packages call the module so; modprobe knows it as nvidia.
    version = host.succeeds(f"modinfo -k {kernel} -F version nvidia-current").strip()
    assert version.startswith("535.")
    state = look(host).state
    assert [(one.headers, one.module) for one in state.kernels if one.release == kernel] == [(True, version)]
    assert state.dkms_failed == ()


@pytest.mark.parametrize("debian", ["13"], indirect=True)
def test_debian_13_cannot_build_its_own_driver_and_the_run_says_so(debian: tuple[TestHost, str]) -> None:
    host, kernel = debian
    values = ("driver_branch=550", "driver_source=debian", "engine_build=cpu")
    command = [str(PYINFRA), "-y", "inventories/sandbox.py", "tests/driver/deploy_driver.py", "--limit", host.name]
    done = subprocess.run(
        [*command, *(word for value in values for word in ("--data", value))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if f"{host.name}: " in line)
    assert done.returncode != 0
    assert "module nvidia-current-open 550." in said
    assert f"does not build for kernel {kernel} (" in said
    assert "error: " in said
    assert "set driver_source to nvidia" in said
    # Nothing is left half-configured, and nothing of the driver is left.
    assert host.succeeds("dpkg --audit") == ""
    assert host.succeeds("dpkg-query -W -f '${Package}\n' | grep -c nvidia || true").strip() == "0"
    assert {one.module for one in look(host).state.kernels} == {None}
