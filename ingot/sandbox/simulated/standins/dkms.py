"""Simulated: dkms for the nvidia module: "builds" a described, empty module for each kernel that has headers.

Layout and words are dkms 3's: /usr/src/nvidia-<version>, /var/lib/dkms/nvidia/<version>/<kernel>/x86_64, `dkms status`.
"""

import argparse
import re
import shutil
import subprocess
import sys

from . import ko, machine

TREE = machine.ROOT / "var/lib/dkms"
SOURCES = machine.ROOT / "usr/src"
MODULES = machine.ROOT / "lib/modules"
ARCHITECTURE = "x86_64"


def main(arguments: list[str]) -> int:
    """Answer as dkms would; returns the exit status (10 for a failed build, as dkms does)."""
    parser = argparse.ArgumentParser(prog="dkms", allow_abbrev=False)
    parser.add_argument("action", nargs="?", default="status")
    parser.add_argument("module", nargs="?")
    parser.add_argument("-m", dest="name")
    parser.add_argument("-v", dest="version")
    parser.add_argument("-k", dest="kernels", action="append")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--version", dest="show_version", action="store_true")
    options, _ = parser.parse_known_args(arguments)
    if options.show_version or options.action == "--version":
        print("dkms-3.2.2")
        return 0
    versions = _chosen(options.module, options.version)
    if options.action == "add":
        for version in versions:
            (TREE / "nvidia" / version / "source").parent.mkdir(parents=True, exist_ok=True)
        return 0
    if options.action == "status":
        print("".join(line + "\n" for version in versions for line in _status(version, options.kernels)), end="")
        return 0
    if options.action == "remove":
        for version in versions:
            _remove(version)
        return 0
    if options.action in ("build", "install", "autoinstall"):
        kernels = options.kernels or _kernels_with_headers()
        return max([_install(version, kernel) for version in versions for kernel in kernels], default=0)
    print(f'Error! Unknown action specified: "{options.action}"', file=sys.stderr)
    return 1


def _chosen(module: str | None, version: str | None) -> list[str]:
    if module and "/" in module:
        version = module.split("/")[1]
    known = {path.name.removeprefix("nvidia-") for path in SOURCES.glob("nvidia-*") if (path / "dkms.conf").exists()}
    known |= {path.name for path in (TREE / "nvidia").glob("*")}
    return [version] if version else sorted(known)


def _kernels_with_headers() -> list[str]:
    return sorted(path.parent.name for path in MODULES.glob("*/build"))


def _status(version: str, only: list[str] | None) -> list[str]:
    tree = TREE / "nvidia" / version
    kernels = sorted(path.name for path in tree.glob("*") if (path / ARCHITECTURE / "module").exists())
    if not kernels:
        return [f"nvidia/{version}: added"] if tree.exists() else []
    return [
        f"nvidia/{version}, {kernel}, {ARCHITECTURE}: installed" for kernel in kernels if not only or kernel in only
    ]


def _install(version: str, kernel: str) -> int:
    build = TREE / "nvidia" / version / kernel / ARCHITECTURE
    if (build / "module").exists():
        return 0
    if not (MODULES / kernel / "build").exists():
        print(
            f"Error! Your kernel headers for kernel {kernel} cannot be found at /lib/modules/{kernel}/build or "
            f"/lib/modules/{kernel}/source.\nPlease install the linux-headers-{kernel} package or use the "
            "--kernelsourcedir option to tell DKMS where it's located.",
            file=sys.stderr,
        )
        return 1
    print(f"Building module(s)... (simulated) nvidia/{version} for {kernel}")
    fault = machine.hardware()["build_fault"]
    if fault and re.fullmatch(fault["kernels"], kernel) and re.fullmatch(fault["versions"], version):
        log = TREE / "nvidia" / version / "build/make.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(
            f"DKMS make.log for nvidia/{version} for kernel {kernel} ({ARCHITECTURE})\n"
            f"  CC [M]  {log.parent}/nvidia-drm/nvidia-drm-drv.o\n{fault['message']}\n"
            f"make[3]: *** [Makefile:229: {log.parent}/nvidia-drm/nvidia-drm-drv.o] Error 1\n"
            "make: *** [Makefile:90: modules] Error 2\n"
        )
        print(
            f"\nError! Bad return status for module build on kernel: {kernel} ({ARCHITECTURE})\n"
            f"Consult {log} for more information.",
            file=sys.stderr,
        )
        return 10
    license_ = (SOURCES / f"nvidia-{version}/LICENSE-OF-MODULE").read_text().strip()
    destination = MODULES / kernel / "updates/dkms"
    destination.mkdir(parents=True, exist_ok=True)
    (build / "module").mkdir(parents=True)
    for name in machine.NVIDIA_MODULES:
        content = ko.module_file(name, version, license_, kernel)
        (build / "module" / machine.module_file(name)).write_bytes(content)
        (destination / machine.module_file(name)).write_bytes(content)
    _depmod(kernel)
    return 0


def _remove(version: str) -> None:
    for module in (TREE / "nvidia" / version).glob(f"*/{ARCHITECTURE}/module"):
        kernel = module.parent.parent.name
        for name in machine.NVIDIA_MODULES:
            path = MODULES / kernel / "updates/dkms" / machine.module_file(name)
            if path.exists() and (machine.installed(name, kernel) or {}).get("version") == version:
                path.unlink()
        _depmod(kernel)
    shutil.rmtree(TREE / "nvidia" / version, ignore_errors=True)


def _depmod(kernel: str) -> None:
    if shutil.which("depmod") and str(machine.ROOT) == "/":
        subprocess.run(["depmod", "-a", kernel], check=False, stderr=subprocess.DEVNULL)
