"""Which driver serves a machine: pure, decided from PCI ids and dated rules."""

from ingot.compat.decision import Activation, Decision, Fabric, Reason, Refused, decide, flavours, objections
from ingot.compat.devices import Architecture, Device, Kind, lookup
from ingot.compat.machine import Card, DriverRequest, Flavour, Image, Machine, Source, version_key
from ingot.compat.packages import PackageSet

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
    "lookup",
    "objections",
    "version_key",
]
