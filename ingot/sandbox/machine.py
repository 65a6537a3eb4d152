"""One booted root file system: an overlay clone under systemd-nspawn, in a mount namespace and cgroup of its own.

The overlay is mounted inside the namespace, so it ends with the last process. The cgroup holds every process
from the first one on: whether a machine runs, and what to kill, is asked of the kernel, never guessed.
"""

import contextlib
import hashlib
import os
import shlex
import subprocess
import time
from pathlib import Path

from ingot.sandbox import confinement
from ingot.sandbox.commands import LIMIT_S, run
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.network import INTERFACES, Network
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import HostRecord

#: systemd-nspawn's exit status when its guest asked for a reboot.
REBOOT = 133
#: Directories that overlay2 needs on a plain file system: an overlay cannot lie on an overlay.
PLAIN = {"docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
MIRROR = "/srv/ingot-mirror"


def machine_name(network: Network, record: HostRecord) -> str:
    """systemd-nspawn's name for a host, short enough for an interface name (`vb-` + this: 15 letters)."""
    return f"{network.bridge}-{record.number}"


def link(network: Network, record: HostRecord) -> str:
    """This machine's end of a host's network cable."""
    return f"vb-{machine_name(network, record)}"


def nspawn_command(paths: Paths, network: Network, record: HostRecord) -> list[str]:
    """The systemd-nspawn call that boots a host."""
    host = paths.host(record.name)
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--console=pipe",
        f"--directory={host}/root",
        f"--machine={machine_name(network, record)}",
        # This machine may have no systemd to register with.
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        f"--network-bridge={network.bridge}",
        "--resolv-conf=off",
        # dockerd in the guest mounts, and makes namespaces and cgroups, which takes this machine's root.
        "--private-users=no",
        f"--drop-capability={','.join(confinement.DROPPED)}",
        f"--system-call-filter={' '.join(confinement.SYSTEM_CALLS)}",
        *(f"--bind={host}/{name}:{where}" for name, where in PLAIN.items()),
        f"--bind-ro={paths.mirror}:{MIRROR}",
    ]


def supervisor_script(paths: Paths, network: Network, record: HostRecord) -> str:
    """The shell script that mounts and boots a host, again and again while it asks for a reboot."""
    host = shlex.quote(str(paths.host(record.name)))
    lower = shlex.quote(str(paths.images / record.image))
    return f"""set -eu
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/systemd/nspawn
mount -t tmpfs none /run/systemd/nspawn
mount -t overlay none -o lowerdir={lower},upperdir={host}/upper,workdir={host}/work {host}/root
while :; do
  status=0
  {shlex.join(nspawn_command(paths, network, record))} || status=$?
  echo "ingot: the guest ended with status $status"
  [ $status = {REBOOT} ] || break
done
# A guest outlives an nspawn that was killed.
echo 1 > /sys/fs/cgroup/{shlex.quote(str(cgroup_name(paths, record.name)))}/cgroup.kill
"""


def cgroup_root() -> Path:
    """Where this machine has cgroup2 mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    raise SandboxError("this machine has no cgroup2 mounted: test hosts need it, mount it or use another machine")


def cgroup(paths: Paths, name: str = "") -> Path:
    """The cgroup of host `name`, or of all hosts of a sandbox."""
    return cgroup_root() / cgroup_name(paths, name)


def cgroup_name(paths: Paths, name: str = "") -> Path:
    """The path of that cgroup below the mount of cgroup2; it follows from the state directory alone."""
    sandbox = hashlib.sha256(str(paths.state).encode()).hexdigest()[:12]
    return Path("ingot-sandbox") / sandbox / name


def running(paths: Paths, name: str) -> bool:
    """Whether the host is powered on: its supervisor runs. Processes that outlive it are ended by the next boot."""
    try:
        return bool((cgroup(paths, name) / "cgroup.procs").read_text())
    except OSError:
        # No such group, or none any more since it was opened.
        return False


def _free_cable(name: str) -> None:
    """Have nothing of this name: the kernel takes a killed host's cable away a little later, or at this moment."""
    try:
        if (INTERFACES / name).exists():
            run(["ip", "link", "delete", name])
    except CommandFailed:
        if (INTERFACES / name).exists():
            raise


def start(paths: Paths, network: Network, record: HostRecord, lock: int) -> None:
    """Boot a host; returns at once, and the host outlives the caller.

    `lock` (a descriptor) is the new process's standard input until it is in its cgroup: were the caller killed
    before that and the lock free, the next one would see no process and start a second.
    """
    # A cgroup that was killed once kills what is started below it (Linux 6.18): never use one twice.
    kill(paths, record.name)
    _free_cable(link(network, record))
    group = cgroup(paths, record.name)
    group.mkdir(parents=True)
    confinement.confine(group)
    enter = f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}; exec < /dev/null"
    script = supervisor_script(paths, network, record)
    isolated = shlex.join(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    with (paths.host(record.name) / "console.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", f"{enter}; exec {isolated}"],
            stdin=lock,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
            check=True,
        )
    # From here on, a host that does not run has stopped, and is not merely about to begin.
    deadline = time.monotonic() + LIMIT_S
    while not running(paths, record.name) and time.monotonic() < deadline:
        time.sleep(0.005)


def kill(paths: Paths, name: str = "", timeout_s: float = LIMIT_S) -> None:
    """End every process of a host (of all hosts without a name), as a power cut would; then its cgroup."""
    group = cgroup(paths, name)
    if not group.is_dir():
        return
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + timeout_s
    while "populated 1" in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            whose = name or "the test hosts"
            raise SandboxError(f"processes of {whose} did not end within {timeout_s:g} s of a kill: see {group}")
        time.sleep(0.02)
    for directory, _, _ in os.walk(group, topdown=False):
        Path(directory).rmdir()
    # What all hosts, and all sandboxes, share goes with the last of them.
    with contextlib.suppress(OSError):
        group.parent.rmdir()
        group.parent.parent.rmdir()


def plug_in(network: Network, record: HostRecord) -> None:
    """Connect a running host's network cable to the bridge."""
    if (INTERFACES / link(network, record)).exists():
        run(["ip", "link", "set", link(network, record), "master", network.bridge, "up"])


def unplug(network: Network, record: HostRecord) -> None:
    """Pull a running host's network cable."""
    run(["ip", "link", "set", link(network, record), "down"])
