"""The exact packages of a decision, per distribution and source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ingot.compat.machine import Flavour, Source, version_key

#: From this branch on, Ubuntu packages of NVIDIA's repository carry no branch in their names.
UNSUFFIXED_SINCE = 590


@dataclass(frozen=True, slots=True)
class PackageSet:
    """What apt installs, in order: `pin` first of all, then `headers`, then `driver` and `companions` together.

    `companions` must equal the driver's upstream version exactly; `tools` follow no version.
    `repository` is NVIDIA's `distro/arch` path, None where the distribution's own archive serves. `rival_origin` is
    the origin (of apt's release files) whose packages of the same names must not be mixed in. `kernels` are kernel
    packages that change together with the driver only: its modules are prebuilt for the archive's newest kernel.
    """

    repository: str | None
    pin: str | None
    headers: tuple[str, ...]
    driver: tuple[str, ...]
    companions: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    rival_origin: str | None = None
    kernels: tuple[str, ...] = ()

    def with_fabric(self, fabric: str, source: Source, branch: int) -> PackageSet:
        """This set with the packages that GPUs behind NVLink switches need."""
        # Before 580 these packages carried the branch in their names; Ubuntu's archive still does.
        suffix = f"-{branch}" if branch < 580 or source is Source.UBUNTU else ""
        if fabric == "imex":
            return replace(self, companions=(*self.companions, f"nvidia-imex{suffix}"))
        companions = (*self.companions, f"nvidia-fabricmanager{suffix}", f"libnvidia-nscq{suffix}")
        # The fabric manager's precheck reaches the switches over InfiniBand. Source: spectrocloud/CanvOS PR #700.
        tools = ("nvlsm", "infiniband-diags", "libibumad3", "rdma-core") if fabric.endswith("nvlsm") else ()
        return replace(self, companions=companions, tools=(*self.tools, *tools))


def packages(
    source: Source,
    *,
    os_id: str,
    repository: str,
    branch: int,
    version: str | None,
    flavour: Flavour,
    kernels: tuple[str, ...],
    kernel_metas: tuple[str, ...],
) -> PackageSet:
    """The packages of one source, without what a switch needs; `kernels` are the running one and the next to boot.

    Sources: NVIDIA's driver installation guide (compute-only sets), Ubuntu's server driver guide, the Debian wiki.
    """
    headers = tuple(dict.fromkeys((*map(headers_of, kernels), *filter(None, map(headers_meta, kernel_metas)))))
    if source is Source.UBUNTU:
        return _ubuntu_archive(branch, flavour, kernels, kernel_metas)
    if source is Source.DEBIAN:
        # Debian's names differ from those in NVIDIA's repository; its tools only recommend CUDA's own library.
        module = "nvidia-open-kernel-dkms" if flavour is Flavour.OPEN else "nvidia-kernel-dkms"
        return PackageSet(None, None, headers, (module, "nvidia-smi", "libcuda1", "nvidia-persistenced"))
    pin = f"nvidia-driver-pinning-{version or branch}"
    is_open = flavour is Flavour.OPEN
    driver: tuple[str, ...]
    if os_id == "debian":
        driver = ("nvidia-driver-cuda", f"nvidia-kernel{'-open' if is_open else ''}-dkms", "nvidia-persistenced")
    elif branch >= UNSUFFIXED_SINCE:
        driver = ("libnvidia-compute", f"nvidia-dkms{'-open' if is_open else ''}", "nvidia-persistenced")
    else:
        driver = (
            f"libnvidia-compute-{branch}",
            f"nvidia-dkms-{branch}{'-open' if is_open else ''}",
            f"nvidia-utils-{branch}",
            f"nvidia-compute-utils-{branch}",
        )
    # On Debian no origin is kept out: NVIDIA's packages need some of Debian's helpers, whose names contain nvidia too.
    return PackageSet(repository, pin, headers, driver, rival_origin="Ubuntu" if os_id == "ubuntu" else None)


def headers_of(kernel: str) -> str:
    """The headers of one kernel; Proxmox VE, which calls itself Debian, names its own kernels and headers."""
    if kernel.endswith("-pve"):
        # The prefix changed with kernel 6.5. Source: Proxmox VE 8.1 release notes; KyleGospo/gasket-dkms #20.
        return f"{'proxmox' if version_key(kernel)[:2] >= (6, 5) else 'pve'}-headers-{kernel}"
    return f"linux-headers-{kernel}"


def headers_meta(image_meta: str) -> str | None:
    """The headers that follow a kernel meta package: linux-image-amd64 -> linux-headers-amd64.

    None for one that no headers follow: debug symbols, and Ubuntu's "extra" modules, whose kernel has a meta package
    of its own.
    """
    if image_meta.endswith(("-dbg", "-dbgsym")) or image_meta.startswith("linux-image-extra-"):
        return None
    if image_meta == "proxmox-default-kernel":
        return "proxmox-default-headers"
    if image_meta.startswith(("proxmox-kernel-", "pve-kernel-")):
        return image_meta.replace("-kernel-", "-headers-", 1)
    return image_meta.replace("linux-image-", "linux-headers-", 1)


def _ubuntu_archive(
    branch: int, flavour: Flavour, kernels: tuple[str, ...], kernel_metas: tuple[str, ...]
) -> PackageSet:
    """Canonical's signed modules: prebuilt per kernel, so that neither headers nor DKMS are needed.

    Those of an older kernel want the driver of its day, so that the meta package's are taken, which are for the newest;
    where no kernel meta package is installed, those of the kernels that are there. Source: the packages' own
    dependencies in Ubuntu's archive (restricted), read 2026-11-23.
    """
    server = f"{branch}-server{'-open' if flavour is Flavour.OPEN else ''}"
    # The kernel of virtual machines is the generic one with fewer modules of its own; more of those come as "extra".
    metas = tuple(meta for meta in kernel_metas if not meta.startswith("linux-image-extra-"))
    flavours = [meta.removeprefix("linux-image-").replace("virtual", "generic", 1) for meta in metas]
    modules = [f"linux-modules-nvidia-{server}-{kernel}" for kernel in flavours or kernels]
    return PackageSet(
        None,
        None,
        (),
        (
            *modules,
            f"nvidia-headless-no-dkms-{server}",
            f"nvidia-utils-{branch}-server",
            f"nvidia-compute-utils-{branch}-server",
        ),
        rival_origin="NVIDIA",
        kernels=metas,
    )
