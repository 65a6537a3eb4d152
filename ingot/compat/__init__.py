"""Which driver serves a machine: pure, decided from PCI ids and dated rules."""

from ingot.compat.decision import Activation, Decision, Reason, Refused, decide, flavours, objections, without_gpu
from ingot.compat.devices import Architecture, Device, Kind, lookup
from ingot.compat.machine import Card, DriverRequest, Fabric, Flavour, Image, Machine, Source, version_key
from ingot.compat.packages import PackageSet, headers_meta, headers_of

__all__ = [
    "Activation",
    "Architecture",
    "Card",
    "Decision",
    "Device",
    "DriverRequest",
    "Fabric",
    "Flavour",
    "Image",
    "Kind",
    "Machine",
    "PackageSet",
    "Reason",
    "Refused",
    "Source",
    "decide",
    "flavours",
    "headers_meta",
    "headers_of",
    "lookup",
    "objections",
    "version_key",
    "without_gpu",
]
