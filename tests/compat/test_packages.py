"""Packages by the names that each archive gives them."""

from __future__ import annotations

import pytest

from ingot.compat import headers_meta, headers_of

pytestmark = pytest.mark.driver


@pytest.mark.parametrize(
    ("kernel", "package"),
    [
        ("6.12.57+deb13-amd64", "linux-headers-6.12.57+deb13-amd64"),
        ("6.8.12-4-pve", "proxmox-headers-6.8.12-4-pve"),
        ("6.5.11-7-pve", "proxmox-headers-6.5.11-7-pve"),
        ("7.0.2-1-pve", "proxmox-headers-7.0.2-1-pve"),
        ("6.4.16-3-pve", "pve-headers-6.4.16-3-pve"),
        ("6.2.16-3-pve", "pve-headers-6.2.16-3-pve"),
        ("6.8.0-1015-aws", "linux-headers-6.8.0-1015-aws"),
    ],
)
def test_headers_have_their_kernel_s_name(kernel: str, package: str) -> None:
    assert headers_of(kernel) == package


@pytest.mark.parametrize(
    ("image", "headers"),
    [
        ("linux-image-amd64", "linux-headers-amd64"),
        ("linux-image-generic-hwe-24.04", "linux-headers-generic-hwe-24.04"),
        ("linux-image-virtual", "linux-headers-virtual"),
        ("linux-image-extra-virtual", None),
        ("linux-image-extra-virtual-hwe-24.04", None),
        ("linux-image-amd64-dbg", None),
        ("proxmox-default-kernel", "proxmox-default-headers"),
        ("linux-image-amd64-dbgsym", None),
        ("proxmox-kernel-6.8", "proxmox-headers-6.8"),
        ("pve-kernel-6.2", "pve-headers-6.2"),
        ("pve-kernel-kernel-x", "pve-headers-kernel-x"),
    ],
)
def test_no_headers_are_asked_for_that_do_not_exist(image: str, headers: str | None) -> None:
    assert headers_meta(image) == headers
