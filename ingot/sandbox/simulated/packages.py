"""Stand-in packages: real names, real shape of dependencies, versions as upstream's; what is inside answers, simulated.

Where the shape comes from: NVIDIA's Driver Installation Guide (Debian), the container toolkit's installation guide and
systemd units, and the public complaint that meta packages depend on `>=` only, which is why pinning packages exist.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ingot.sandbox.simulated import launcher

DRIVER_VERSIONS = ("580.159.03", "580.173.02", "595.71.05")
TOOLKIT_VERSIONS = ("1.19.1", "1.20.0")
OPEN_LICENSE, PROPRIETARY_LICENSE = "Dual MIT/GPL", "NVIDIA"

_FILES = Path(__file__).parent / "packages"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
DRIVER_SOURCE = "nvidia-graphics-drivers"


@dataclass(frozen=True)
class Package:
    """One .deb: its control fields, its files by absolute path, its maintainer scripts."""

    name: str
    version: str
    architecture: str = "amd64"
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    source: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Name of the .deb in the pool, without the version's epoch as in any archive."""
        return f"{self.name}_{self.version.split(':')[-1]}_{self.architecture}.deb"

    def control(self) -> str:
        """The control file, without sizes and hashes."""
        fields = {
            "Package": self.name,
            "Source": self.source,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": "Ingot test hosts <ingot@localhost>",
            "Depends": ", ".join(self.depends),
            "Provides": ", ".join(self.provides),
            "Conflicts": ", ".join(self.conflicts),
            "Replaces": ", ".join(self.replaces),
            "Section": "misc",
            "Priority": "optional",
            "Description": f"simulated stand-in for {self.name} on test hosts",
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)


def all_packages(kernel_release: str) -> tuple[Package, ...]:
    """Every package of the repository, in a fixed order."""
    packages: list[Package] = [_dkms(), _headers(kernel_release), _nvlsm()]
    for branch in sorted({version.split(".")[0] for version in DRIVER_VERSIONS}):
        packages.append(pinning(branch, f"{branch}-1", f"{branch}.*"))
    for version in DRIVER_VERSIONS:
        packages.append(pinning(version, f"{version}-1", f"{version}*"))
        packages += _driver(version)
        packages += _fabric(version)
    for version in TOOLKIT_VERSIONS:
        packages += _toolkit(version)
    packages += _dcgm()
    return tuple(packages)


def pinning(name: str, version: str, pin: str) -> Package:
    """The package that keeps every other one of the driver on a branch or a version."""
    return Package(
        f"nvidia-driver-pinning-{name}",
        version,
        architecture="all",
        provides=("nvidia-driver-pinning",),
        conflicts=("nvidia-driver-pinning",),
        replaces=("nvidia-driver-pinning",),
        files={
            "/etc/apt/preferences.d/nvidia-driver-pinning": (
                "# Simulated: keeps every package of the driver on one branch or version.\n"
                f"Package: src:{DRIVER_SOURCE}\nPin: version {pin}\nPin-Priority: 1000\n"
            )
        },
    )


def _driver(version: str) -> Iterator[Package]:
    full = f"{version}-1"
    module = f"nvidia-kernel-open-dkms (= {full}) | nvidia-kernel-dkms (= {full})"

    def package(name: str, *depends: str, **rest: Mapping[str, str] | tuple[str, ...]) -> Package:
        return Package(name, full, depends=depends, source=DRIVER_SOURCE, **rest)  # type: ignore[arg-type]

    for name, kind in (("nvidia-open", "nvidia-kernel-open-dkms"), ("cuda-drivers", "nvidia-kernel-dkms")):
        yield package(name, *(f"{part} (>= {full})" for part in ("nvidia-driver", "nvidia-driver-cuda", kind)))
    yield package("nvidia-driver", f"nvidia-driver-cuda (= {full})", module)
    yield package(
        "nvidia-driver-cuda",
        *(f"{part} (= {full})" for part in ("libcuda1", "libnvidia-ml1", "nvidia-modprobe", "nvidia-persistenced")),
        module,
        programs={"/usr/bin/nvidia-smi": launcher("nvidia_smi")},
    )
    for name, library in (("libcuda1", "libcuda"), ("libnvidia-ml1", "libnvidia-ml")):
        yield package(
            name,
            files={f"{LIBRARIES}/{library}.so.{version}": f"Simulated: {library} {version}\n"},
            links={f"{LIBRARIES}/{library}.so.1": f"{library}.so.{version}"},
        )
    yield package(
        "nvidia-modprobe",
        programs={"/usr/bin/nvidia-modprobe": launcher("daemons", "modprobe_helper(sys.argv[1:])")},
    )
    yield package(
        "nvidia-persistenced",
        f"libnvidia-ml1 (= {full})",
        files={"/usr/lib/systemd/system/nvidia-persistenced.service": text("nvidia-persistenced.service")},
        programs={"/usr/bin/nvidia-persistenced": launcher("daemons", "persistenced(sys.argv[1:])")},
        scripts={
            "postinst": script("systemctl enable nvidia-persistenced.service"),
            "prerm": script("systemctl stop nvidia-persistenced.service"),
        },
    )
    yield package("firmware-nvidia-gsp", files={f"/usr/lib/firmware/nvidia/{version}/gsp_ga10x.bin": "Simulated.\n"})
    yield package("nvidia-kernel-support", files={"/usr/lib/modprobe.d/nvidia.conf": text("nvidia.conf")})
    for name, license_, other in (
        ("nvidia-kernel-open-dkms", OPEN_LICENSE, "nvidia-kernel-dkms"),
        ("nvidia-kernel-dkms", PROPRIETARY_LICENSE, "nvidia-kernel-open-dkms"),
    ):
        source = f"/usr/src/nvidia-{version}"
        yield package(
            name,
            "dkms (>= 3.1.8)",
            f"nvidia-kernel-support (= {full})",
            f"firmware-nvidia-gsp (= {full})",
            conflicts=(other,),
            replaces=(other,),
            files={
                f"{source}/dkms.conf": f'PACKAGE_NAME="nvidia"\nPACKAGE_VERSION="{version}"\nAUTOINSTALL="yes"\n',
                f"{source}/LICENSE-OF-MODULE": license_ + "\n",
            },
            scripts={
                "postinst": script(
                    f"dkms add -m nvidia -v {version}\ndkms autoinstall -m nvidia -v {version}", "configure"
                ),
                "prerm": script(f"dkms remove -m nvidia -v {version} --all"),
            },
        )


def _fabric(version: str) -> Iterator[Package]:
    # Another Debian revision than the driver's, as in NVIDIA's repositories: only the upstream version matches.
    full = f"{version}-2"
    yield Package(
        "nvidia-fabricmanager",
        full,
        source="fabricmanager",
        files={
            "/usr/lib/systemd/system/nvidia-fabricmanager.service": text("nvidia-fabricmanager.service"),
            "/usr/share/nvidia/nvswitch/fabricmanager.cfg": "# Simulated: a stock configuration.\nDAEMONIZE=1\n",
        },
        programs={"/usr/bin/nv-fabricmanager": launcher("daemons", f'fabricmanager(["{version}", *sys.argv[1:]])')},
        scripts={"postinst": script(""), "prerm": script("systemctl stop nvidia-fabricmanager.service")},
    )
    yield Package("libnvidia-nscq", full, files={f"{LIBRARIES}/libnvidia-nscq.so.{version}": "Simulated.\n"})
    yield Package("libnvsdm", full, files={f"{LIBRARIES}/libnvsdm.so.{version}": "Simulated.\n"})
    yield Package(
        "nvidia-imex",
        full,
        files={
            "/usr/lib/systemd/system/nvidia-imex.service": text("nvidia-imex.service"),
            "/etc/nvidia-imex/nodes_config.cfg": "",
        },
    )


def _nvlsm() -> Package:
    return Package("nvlsm", "2025.06.11-1", files={"/usr/share/doc/nvlsm/README": "Simulated.\n"})


def _toolkit(version: str) -> Iterator[Package]:
    full = f"{version}-1"

    def package(name: str, *depends: str, **rest: Mapping[str, str]) -> Package:
        # From 1.18 on the four packages want each other at exactly the same version.
        return Package(name, full, depends=tuple(f"{part} (= {full})" for part in depends), **rest)  # type: ignore[arg-type]

    yield package("nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools")
    yield package(
        "nvidia-container-toolkit-base",
        files={
            "/usr/share/nvidia-container-toolkit/VERSION": version + "\n",
            "/etc/systemd/system/nvidia-cdi-refresh.service": text("nvidia-cdi-refresh.service"),
            "/etc/systemd/system/nvidia-cdi-refresh.path": text("nvidia-cdi-refresh.path"),
        },
        programs={"/usr/bin/nvidia-ctk": launcher("nvidia_ctk")},
        scripts={
            "postinst": script(
                "systemctl enable --now nvidia-cdi-refresh.path\nsystemctl enable --now nvidia-cdi-refresh.service"
            ),
            "prerm": script("systemctl disable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service"),
        },
    )
    yield package("libnvidia-container-tools", "libnvidia-container1")
    yield package(
        "libnvidia-container1", files={f"{LIBRARIES}/libnvidia-container.so.{version}": f"Simulated: {version}\n"}
    )


def _dcgm() -> Iterator[Package]:
    # Names, unit and list of counters as NVIDIA/dcgm-exporter 4.5 has them. Starting at once is the worst it may do.
    core = "datacenter-gpu-manager-4-core"
    yield Package(core, "1:4.5.1-1", files={f"/usr/share/doc/{core}/README": "Simulated.\n"})
    yield Package(
        "datacenter-gpu-manager-exporter",
        "4.8.1-1",
        depends=(core,),
        files={
            "/usr/lib/systemd/system/nvidia-dcgm-exporter.service": text("nvidia-dcgm-exporter.service"),
            "/etc/dcgm-exporter/default-counters.csv": "DCGM_FI_DEV_GPU_TEMP, gauge, Simulated.\n",
        },
        programs={"/usr/bin/dcgm-exporter": launcher("dcgm_exporter")},
        scripts={
            "postinst": script("systemctl enable --now nvidia-dcgm-exporter.service"),
            "prerm": script("systemctl stop nvidia-dcgm-exporter.service"),
        },
    )


def _dkms() -> Package:
    # A version above Debian's own, whose compiler a stand-in has no use for.
    return Package(
        "dkms",
        "9:3.2.2-1",
        architecture="all",
        depends=("kmod",),
        programs={"/usr/sbin/dkms": launcher("dkms")},
    )


def _headers(release: str) -> Package:
    return Package(
        f"linux-headers-{release}",
        "1.0-1",
        files={f"/usr/src/linux-headers-{release}/Makefile": "# Simulated: the running kernel's own headers.\n"},
        links={f"/usr/lib/modules/{release}/build": f"/usr/src/linux-headers-{release}"},
        scripts={
            "postinst": script(f"if command -v dkms >/dev/null; then dkms autoinstall -k {release}; fi", "configure")
        },
    )


def text(name: str) -> str:
    """A file of `packages/`."""
    return (_FILES / name).read_text()


def script(body: str, only: str = "") -> str:
    """A maintainer script; the systemd part is quiet where systemd is not running (a chroot)."""
    lines = ["#!/bin/sh", "# Simulated: a stand-in's maintainer script.", "set -e"]
    if only:
        lines += [f'[ "$1" = {only} ] || exit 0', *body.splitlines()]
    else:
        lines += ["[ -d /run/systemd/system ] || exit 0", "systemctl daemon-reload"]
        lines += [f"{line} || true" for line in body.splitlines()]
    return "\n".join(lines) + "\n"
