"""Used servers with something small in the way: noise, a full /tmp, packages half done, a Docker set up by hand."""

from __future__ import annotations

from tests.found.states import DOCKER, PREFLIGHT, State

#: What a login prints by itself, the last of it without the end of a line.
NOISE = "printf 'echo Welcome to rack 7\\nprintf unfinished\\n' >/home/ops/.bashrc"
#: A package whose script fails as long as a file is there.
PACKAGE = """set -e
mkdir -p /root/odd/DEBIAN
printf '%s\\n' 'Package: odd' 'Version: 1' 'Architecture: all' 'Maintainer: x <x@localhost>' 'Description: odd' \\
  >/root/odd/DEBIAN/control
printf '#!/bin/sh\\n[ ! -e /root/odd-fails ]\\n' >/root/odd/DEBIAN/postinst
chmod 755 /root/odd/DEBIAN/postinst
dpkg-deb --build /root/odd /root/odd.deb
touch /root/odd-fails
! dpkg --install /root/odd.deb
"""
_PACKAGES = "dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\\n'"
#: The unit is not started more than three times a minute otherwise.
_RESTART = "systemctl daemon-reload; systemctl reset-failed docker; systemctl restart docker"
_DOCKER_RUNS = "systemctl show --value -p InvocationID docker; cat /etc/docker/daemon.json"


def _refused(
    name: str, prepare: str, ends: str, *words: str, keeps: tuple[str, ...] = (), apt_works: bool = True
) -> State:
    """A state that preflight refuses, on the host of all of these."""
    return State(
        "found-odd",
        "a10gx4",
        prepare,
        name=name,
        refused=words,
        keeps=keeps,
        ends=ends,
        roles=PREFLIGHT,
        apt_works=apt_works,
    )


STATES = (
    _refused(
        "/tmp is full",
        "mount -t tmpfs -o size=64k tmpfs /tmp; ! head -c 1M /dev/zero >/tmp/full",
        "umount /tmp",
        "0.0 GiB free on /tmp, expected",
        apt_works=False,
    ),
    _refused(
        "/tmp is read-only",
        "mount -t tmpfs -o ro tmpfs /tmp",
        "umount /tmp",
        "/tmp is mounted read-only",
        apt_works=False,
    ),
    _refused(
        "a package half installed",
        "cp /var/lib/dpkg/status /root/status; "
        "sed -i '/^Package: less$/,/^$/ s/^Status: .*/Status: install reinstreq half-installed/' /var/lib/dpkg/status",
        "cp /root/status /var/lib/dpkg/status",
        "dpkg wants less reinstalled",
        "apt-get install --reinstall less",
        apt_works=False,
    ),
    _refused(
        "a driver of NVIDIA's installer",
        "printf '#!/bin/sh\\n' >/usr/bin/nvidia-uninstall; chmod 755 /usr/bin/nvidia-uninstall",
        "rm /usr/bin/nvidia-uninstall",
        ".run installer",
        "nvidia-uninstall",
    ),
    _refused(
        "root's docker goes elsewhere",
        'mkdir -p /root/.docker; echo \'{"currentContext": "other"}\' >/root/.docker/config.json',
        "rm -r /root/.docker",
        "root's docker goes to another daemon (the context other)",
        "expected the host's own",
    ),
    State(
        "found-odd",
        "a10gx4",
        PACKAGE,
        name="a package that cannot be configured",
        refused=("dpkg --configure -a failed", "odd"),
        keeps=(_PACKAGES,),
        roles=DOCKER,
        apt_works=False,
    ),
    State(
        "found-odd",
        "a10gx4",
        f"rm /root/odd-fails; {NOISE}; mount -t tmpfs -o noexec tmpfs /tmp",
        name="a package left unconfigured, a login that prints, /tmp without programs",
        said=("odd left unconfigured", "dpkg --configure -a"),
        leaves={"dpkg-query -W -f='${db:Status-Abbrev}' odd": "ii"},
        ends="umount /tmp",
        roles=DOCKER,
    ),
    State(
        "found-odd",
        "a10gx4",
        "true",
        name="a login that prints",
        said=("its login shell prints 'Welcome to rack 7' before every answer",),
        ends="rm /home/ops/.bashrc",
        roles=PREFLIGHT,
    ),
    State(
        "found-odd",
        "a10gx4",
        "mount -t tmpfs -o noexec tmpfs /tmp",
        name="/tmp without programs",
        said=("/tmp is mounted noexec",),
        ends="umount /tmp",
        roles=PREFLIGHT,
    ),
    _refused(
        "a script in docker's place",
        "printf '#!/bin/sh\\necho Our own docker\\nexec /usr/bin/docker \"$@\"\\n' >/usr/local/bin/docker; "
        "chmod 755 /usr/local/bin/docker",
        "rm /usr/local/bin/docker",
        "prints 'Our own docker' first, since /usr/local/bin/docker is a script",
    ),
    _refused(
        "dockerd of no package",
        "cp /usr/sbin/dockerd /usr/local/sbin/dockerd",
        "rm /usr/local/sbin/dockerd",
        "/usr/local/sbin/dockerd belongs to no package",
        "systemctl disable --now docker",
        keeps=(_DOCKER_RUNS,),
    ),
    _refused(
        "daemon.json that is no JSON",
        "cp /etc/docker/daemon.json /root/; echo '{' >/etc/docker/daemon.json",
        "cp /root/daemon.json /etc/docker/",
        "/etc/docker/daemon.json is not a JSON object",
        keeps=(_DOCKER_RUNS,),
    ),
    _refused(
        "a flag of dockerd that daemon.json will say too",
        "cp /etc/docker/daemon.json /root/; echo '{}' >/etc/docker/daemon.json; "
        "mkdir /etc/systemd/system/docker.service.d; "
        "printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// --live-restore\\n' "
        f">/etc/systemd/system/docker.service.d/own.conf; {_RESTART}",
        f"rm -r /etc/systemd/system/docker.service.d; cp /root/daemon.json /etc/docker/; {_RESTART}",
        "dockerd is started with --live-restore",
        keeps=(_DOCKER_RUNS,),
    ),
    _refused(
        "a masked docker.service",
        "systemctl disable --now docker.service docker.socket; systemctl mask docker.service",
        "systemctl unmask docker.service",
        "docker.service is masked",
        "systemctl unmask docker.service",
    ),
)
