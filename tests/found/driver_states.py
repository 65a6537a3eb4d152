"""Used servers, as the driver role finds them."""

from __future__ import annotations

from ingot.sandbox import simulated
from tests.found.states import State

OLDER, NEWER = "driver_version=580.159.03", "driver_version=580.173.02"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def _meta(name: str) -> str:
    """Installs a kernel's meta package, in shell."""
    return f"""mkdir -p /root/meta/DEBIAN
cat >/root/meta/DEBIAN/control <<END
Package: {name}
Version: 1
Architecture: all
Maintainer: x <x@localhost>
Description: a meta package
END
dpkg-deb --build /root/meta /root/meta.deb
dpkg --install /root/meta.deb
"""


#: The branch that Ubuntu's archive gave the host, from the repository of stand-ins, and a meta package of kernels that
#: has no headers of its own.
UBUNTU = f"""set -e
{_meta("linux-image-extra-virtual")}
sed -i 's/^ID=.*/ID=ubuntu/; s/^VERSION_ID=.*/VERSION_ID="24.04"/' /usr/lib/os-release
echo 'deb [trusted=yes] file:/srv/ingot-mirror/apt stable main' >/etc/apt/sources.list.d/archive.list
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nvidia-driver-535 linux-headers-$(uname -r)
rm /etc/apt/sources.list.d/archive.list
modprobe nvidia
systemctl start nvidia-persistenced
"""
#: DCGM and an exporter as their packages leave them: services that hold the GPUs' device files open.
MONITORING = """set -e
for name in nv-hostengine dcgm-exporter; do
  printf '#!/bin/sh\\nexec 3</dev/nvidia0\\nwhile :; do sleep 1 3<&-; done\\n' >/usr/local/bin/$name
  chmod 755 /usr/local/bin/$name
done
unit() { printf '[Service]\\nExecStart=/usr/local/bin/%s\\nRestart=no\\n' "$2" >/etc/systemd/system/$1.service; }
unit nvidia-dcgm nv-hostengine
unit my-exporter dcgm-exporter
systemctl daemon-reload
systemctl start nvidia-dcgm my-exporter
"""
#: An older cloud image: a kernel meta package, and no headers of the running kernel in the archive any more.
OLD_KERNEL = f"set -e\n{_meta('linux-image-amd64')}apt-get update -q\n"
VERSIONS = (
    "dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\\n' '*nvidia*' 2>/dev/null | grep '^[hi]i' | "
    "awk '{print $3}' | cut -d- -f1 | sort -u"
)

STATES = (
    State(
        "found-ubuntu",
        "a10gx4",
        UBUNTU,
        values=(OLDER,),
        leaves={
            "cat /proc/driver/nvidia/version": "580.159.03",
            "nvidia-smi -L | wc -l": "4",
            "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' '*535*' 2>/dev/null | grep -c '^.i' || true": "0",
            "systemctl is-active nvidia-persistenced": "active",
        },
    ),
    State(
        "found-monitored",
        "rtx3090+3060",
        MONITORING,
        installed=(OLDER,),
        values=(NEWER,),
        keeps=("systemctl is-active nvidia-dcgm my-exporter nvidia-persistenced", BOOT_ID),
        leaves={"cat /proc/driver/nvidia/version": "580.173.02"},
    ),
    State(
        "found-headless",
        "a10gx4",
        OLD_KERNEL,
        refused=("has no headers in the host's package sources any more", "driver_kernel_upgrade"),
        keeps=("dpkg-query -W",),
    ),
    State(
        "found-hanging",
        "a10gx4",
        simulated.set_command("smi_delay_s", 900),
        installed=(OLDER,),
        values=(OLDER,),
        refused=("nvidia-smi did not answer in time",),
        leaves={"cat /proc/driver/nvidia/version": "580.159.03"},
        restores={"ls /proc/driver/nvidia; dpkg-query -W -f='${db:Status-Abbrev}' 'nvidia-driver*' | grep -c ii": "0"},
        within_s=60,
    ),
)
