"""Used servers, as the docker role finds them."""

from __future__ import annotations

from tests.found import docker_packages
from tests.found.states import DOCKER, PREFLIGHT, State

#: An image of a few files, and containers that end when they are told to.
_TREE = "bin lib lib64 usr/lib64 usr/bin/sleep $(for n in ld-linux libc.; do echo usr/lib/*-linux-gnu/$n*; done)"
_IMAGE = f"cd / && tar -c {_TREE} | docker import - tiny >/dev/null"
_RUN = "docker run --detach --stop-signal KILL"
_SLEEP = "tiny /usr/bin/sleep 100000"
_RUNNING = "docker inspect --format '{{.Name}} {{.Id}} {{.State.Running}}' web once"
#: Debian's Docker with somebody's containers and their daemon.json, which begins with a byte order mark.
DEBIAN = f"""set -e
{docker_packages.MAKE}
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends docker.io docker-cli >/dev/null
printf '\\357\\273\\277{{"max-concurrent-downloads": 2}}\\n' >/etc/docker/daemon.json
systemctl restart docker
{_IMAGE}
{_RUN} --name web {_SLEEP}
{_RUN} --name once --rm {_SLEEP}
"""
#: The snap's Docker: Debian's programs where the snap has its own, and as much of `snap` as its services need.
SNAP = f"""set -e
there=/snap/docker/2932
root=/var/snap/docker/common/var-lib-docker
for name in docker.io docker-cli containerd runc; do
  mkdir -p $there && dpkg-deb -x /var/cache/apt/archives/${{name}}_*.deb $there
done
mkdir -p $root
cat >/etc/systemd/system/snap.docker.dockerd.service <<END
[Service]
Environment=PATH=$there/usr/bin:$there/usr/sbin:/usr/bin:/usr/sbin:/bin:/sbin
ExecStart=$there/usr/sbin/dockerd --data-root=$root --storage-driver=vfs --iptables=false --exec-root=/run/snap.docker
[Install]
WantedBy=multi-user.target
END
cat >/usr/local/bin/snap <<'END'
#!/bin/sh
case "$*" in
  "stop --disable docker") systemctl disable --now snap.docker.dockerd ;;
  "start --enable docker") systemctl enable --now snap.docker.dockerd ;;
  *) exit 64 ;;
esac
END
chmod 755 /usr/local/bin/snap
systemctl daemon-reload
snap start --enable docker
ln -s $there/usr/bin/docker /usr/local/bin/docker
i=0; until docker info >/dev/null 2>&1 || [ $i -gt 60 ]; do sleep 0.5; i=$((i + 1)); done
{_IMAGE}
{_RUN} --network none --name their-web {_SLEEP}
rm /usr/local/bin/docker
"""
_SNAP_RUNS = "systemctl is-active snap.docker.dockerd; systemctl is-enabled snap.docker.dockerd; true"


def _vendor() -> tuple[str, ...]:
    return docker_packages.values("found-debian")


STATES = (
    State(
        "found-debian",
        "a10gx4",
        DEBIAN,
        name="docker.io with a container that would be lost",
        values=_vendor,
        refused=("container once would be lost when Docker is exchanged", 'set docker_source = "distribution"'),
        keeps=(_RUNNING,),
        ends="docker stop once",
        roles=PREFLIGHT,
    ),
    State(
        "found-debian",
        "a10gx4",
        "true",
        name="docker.io where Docker's own packages are asked for",
        values=_vendor,
        said=("docker.io", "exchanged for Docker's own", "container web stopped and started again"),
        keeps=("docker inspect --format '{{.Id}} {{.State.Running}}' web",),
        leaves={
            "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' docker-ce docker.io": "ii  docker-ce",
            "cat /etc/docker/daemon.json": '"max-concurrent-downloads": 2',
            "docker info --format '{{.LiveRestoreEnabled}} {{.CDISpecDirs}}'": "true [/etc/cdi /var/run/cdi]",
            "grep -c icc /etc/docker/daemon.json; true": "0",
        },
        roles=DOCKER,
    ),
    State(
        "found-debian",
        "a10gx4",
        'cp /etc/docker/daemon.json /root/; sed -i \'1s/{/{"default-runtime": "nvidia",/\' /etc/docker/daemon.json',
        name="another default runtime, and containers of others",
        values=_vendor,
        said=("the default runtime nvidia of /etc/docker/daemon.json stays for containers of others",),
        keeps=("docker inspect --format '{{.Id}} {{.State.Running}}' web",),
        ends="cp /root/daemon.json /etc/docker/",
        roles=PREFLIGHT,
    ),
    State(
        "found-debian",
        "a10gx4",
        "true",
        name="docker-ce where the distribution's is asked for",
        values=("docker_source=distribution",),
        refused=("docker-ce 5:29.0.0", "container web", 'set docker_source = "docker"'),
        keeps=("docker inspect --format '{{.Id}} {{.State.Running}}' web",),
        roles=PREFLIGHT,
        restores={
            "head -c 3 /etc/docker/daemon.json | od -An -tx1": "ef bb bf",
            "cat /etc/docker/daemon.json": '{"max-concurrent-downloads": 2}',
            "true": "docker.io was here before Ingot",
        },
    ),
    State(
        "found-snap",
        "a10gx4",
        SNAP,
        name="Docker of the snap with containers",
        refused=("Docker of the snap runs with container their-web", "snap stop --disable docker"),
        keeps=(_SNAP_RUNS, "pgrep -x sleep -a"),
        ends="/snap/docker/2932/usr/bin/docker rm --force their-web",
        roles=PREFLIGHT,
    ),
    State(
        "found-snap",
        "a10gx4",
        "true",
        name="Docker of the snap without containers",
        said=("Docker of the snap, which has no containers, is stopped",),
        leaves={_SNAP_RUNS: "inactive\ndisabled", "readlink /proc/$(pgrep -x dockerd)/exe": "/usr/sbin/dockerd"},
        restores={_SNAP_RUNS: "active\nenabled", "ls /usr/sbin/dockerd; true": "cannot access"},
        roles=DOCKER,
    ),
    State(
        "found-podman",
        "a10gx4",
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends podman-docker >/dev/null",
        name="podman-docker",
        said=("podman-docker gives way to Docker; podman stays",),
        keeps=("podman --version",),
        leaves={"docker --version": "Docker version"},
        restores={"docker --version 2>/dev/null": "podman version"},
        roles=DOCKER,
    ),
)
