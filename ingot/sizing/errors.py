"""Errors in what the planner is given. The text of each is one sentence for the person who gave it."""

from __future__ import annotations


class SizingError(ValueError):
    """Something in the input makes an honest answer impossible; `str()` is the sentence to print."""


class ConfigError(SizingError):
    """A model's config.json lacks a field, or a field has a value no model can have."""


class UnknownArchitecture(ConfigError):
    """The config names an attention design whose memory Ingot cannot compute exactly, so it does not guess."""


class CheckpointMismatch(ConfigError):
    """The weight files and config.json describe different models."""


class HardwareError(SizingError):
    """No real GPU has such a record: it has no memory, has more free than there is, or shares its UUID."""


class WorkloadError(SizingError):
    """No engine can serve the workload: its context or concurrency is below one, or beyond what the model allows."""


class CatalogError(SizingError):
    """A catalog entry is incomplete or contradicts itself; the sentence names entry and key."""


class PlanError(SizingError):
    """A stored plan or measurement cannot be read back."""
