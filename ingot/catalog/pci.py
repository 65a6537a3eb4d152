"""The catalog's GPU of a PCI device id, so that a host can be planned before it has a driver. Source: pci.ids."""

from __future__ import annotations

#: Device id -> key of gpus.yaml. The first id of a key is the one that its name stands for offline.
GPU_OF_DEVICE = {
    0x1DB1: "v100-16g",
    0x1DB5: "v100-32g",
    0x1E04: "rtx2080ti",
    0x1E07: "rtx2080ti",
    0x1EB8: "t4",
    0x20B0: "a100-40g",
    0x20F1: "a100-40g-pcie",
    0x20B2: "a100-80g",
    0x20B5: "a100-80g-pcie",
    0x20B7: "a30",
    0x2204: "rtx3090",
    0x2206: "rtx3080",
    0x2216: "rtx3080",
    0x2230: "rtxa6000",
    0x2231: "rtxa5000",
    0x2235: "a40",
    0x2236: "a10",
    0x2237: "a10g",
    0x2321: "h100-nvl",
    0x2329: "h20",
    0x232C: "h20-141g",
    0x2330: "h100",
    0x2331: "h100-pcie",
    0x2335: "h200",
    0x2342: "gh200",
    0x2503: "rtx3060",
    0x2504: "rtx3060",
    0x25B6: "a16",
    0x2684: "rtx4090",
    0x26B1: "rtx6000ada",
    0x26B5: "l40",
    0x26B9: "l40s",
    0x2704: "rtx4080",
    0x2786: "rtx4070",
    0x27B8: "l4",
    0x2805: "rtx4060ti",
    0x2882: "rtx4060",
    0x2901: "b200",
    0x2B85: "rtx5090",
    0x2BB5: "rtxpro6000",
    0x2C02: "rtx5080",
    0x2C05: "rtx5070ti",
    0x2D04: "rtx5060ti",
    0x2E12: "gb10",
    0x3182: "b300",
}


def device_of(key: str) -> int | None:
    """The device id that a GPU of the catalog stands for; None where no one id does."""
    return next((device for device, known in GPU_OF_DEVICE.items() if known == key), None)
