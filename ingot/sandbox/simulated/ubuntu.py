"""Stand-in packages under the names that Ubuntu's archive, and NVIDIA's repository for Ubuntu before 590, use.

Each branch provides, replaces and conflicts with a virtual package per part, so that two branches cannot be installed
together. These relations are written from what is known of both archives; their own control files were not read.
"""

from collections.abc import Iterator

from ingot.sandbox.simulated import launcher
from ingot.sandbox.simulated.packages import (
    DRIVER_SOURCE,
    LIBRARIES,
    OPEN_LICENSE,
    PROPRIETARY_LICENSE,
    Package,
    pinning,
    script,
    text,
)

#: What a host of an older installation has, with and without the desktop's parts.
VERSIONS = ("535.309.01", "580.159.03")


def packages() -> Iterator[Package]:
    """Every branch's parts."""
    for version in VERSIONS:
        yield from _branch(version)
    yield pinning("535", "535-1", "535.*")
    yield pinning(VERSIONS[0], f"{VERSIONS[0]}-1", f"{VERSIONS[0]}*")


def _branch(version: str) -> Iterator[Package]:
    branch = version.partition(".")[0]
    full = f"{version}-0ubuntu1"

    def part(name: str, *depends: str, virtual: str = "", **rest: object) -> Package:
        relations = dict.fromkeys(("provides", "conflicts", "replaces"), (virtual,)) if virtual else {}
        return Package(name, full, depends=depends, source=DRIVER_SOURCE, **relations, **rest)  # type: ignore[arg-type]

    yield part(
        f"libnvidia-compute-{branch}",
        virtual="libnvidia-compute",
        files={f"{LIBRARIES}/{library}.so.{version}": f"Simulated: {library} {version}\n"
               for library in ("libcuda", "libnvidia-ml")},
        links={f"{LIBRARIES}/{library}.so.1": f"{library}.so.{version}" for library in ("libcuda", "libnvidia-ml")},
    )  # fmt: skip
    yield part(
        f"nvidia-utils-{branch}",
        f"libnvidia-compute-{branch} (= {full})",
        virtual="nvidia-utils",
        programs={"/usr/bin/nvidia-smi": launcher("nvidia_smi")},
    )
    yield part(
        f"nvidia-compute-utils-{branch}",
        f"libnvidia-compute-{branch} (= {full})",
        virtual="nvidia-compute-utils",
        files={"/usr/lib/systemd/system/nvidia-persistenced.service": text("nvidia-persistenced.service")},
        programs={"/usr/bin/nvidia-persistenced": launcher("daemons", "persistenced(sys.argv[1:])")},
        scripts={
            "postinst": script("systemctl enable nvidia-persistenced.service"),
            "prerm": script("systemctl stop nvidia-persistenced.service"),
        },
    )
    yield part(
        f"nvidia-kernel-common-{branch}",
        virtual="nvidia-kernel-common",
        files={"/usr/lib/modprobe.d/nvidia-kernel-common.conf": text("nvidia.conf")},
    )
    for suffix, license_ in (("-open", OPEN_LICENSE), ("", PROPRIETARY_LICENSE)):
        sources = f"/usr/src/nvidia-{version}"
        yield part(
            f"nvidia-kernel-source-{branch}{suffix}",
            virtual="nvidia-kernel-source",
            files={
                f"{sources}/dkms.conf": f'PACKAGE_NAME="nvidia"\nPACKAGE_VERSION="{version}"\nAUTOINSTALL="yes"\n',
                f"{sources}/LICENSE-OF-MODULE": license_ + "\n",
            },
        )
        yield part(
            f"nvidia-dkms-{branch}{suffix}",
            "dkms",
            f"nvidia-kernel-source-{branch}{suffix} (= {full})",
            f"nvidia-kernel-common-{branch} (= {full})",
            virtual="nvidia-dkms-kernel",
            scripts={
                "postinst": script(
                    f"dkms add -m nvidia -v {version}\ndkms autoinstall -m nvidia -v {version}", "configure"
                ),
                "prerm": script(f"dkms remove -m nvidia -v {version} --all"),
            },
        )
    for name, virtual in ((f"libnvidia-gl-{branch}", "libnvidia-gl"), (f"xserver-xorg-video-nvidia-{branch}", "")):
        yield part(
            name,
            f"libnvidia-compute-{branch} (= {full})",
            virtual=virtual or "xserver-xorg-video-nvidia",
            files={f"/usr/share/doc/{name}/README": "Simulated.\n"},
        )
    yield part(
        f"nvidia-driver-{branch}",
        *(f"{name}-{branch} (= {full})" for name in ("libnvidia-compute", "libnvidia-gl", "nvidia-dkms", "nvidia-utils",
          "nvidia-compute-utils", "nvidia-kernel-common", "xserver-xorg-video-nvidia")),
        virtual="nvidia-driver-binary",
    )  # fmt: skip
