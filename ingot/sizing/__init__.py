"""Memory arithmetic and planning: pure, standard library only, deterministic."""

from ingot.sizing.architecture import Architecture
from ingot.sizing.calibration import Calibration, CalibrationKey
from ingot.sizing.config import architecture_from_config
from ingot.sizing.engine import EngineProfile, vllm
from ingot.sizing.errors import (
    CatalogError,
    CheckpointMismatch,
    ConfigError,
    HardwareError,
    PlanError,
    SizingError,
    UnknownArchitecture,
    WorkloadError,
)
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.plan import DoesNotFit, HostPlan, ReplicaPlan, plan_host
from ingot.sizing.request import Model, ModelRequest, Variant, Workload

__all__ = [
    "GPU",
    "Architecture",
    "Calibration",
    "CalibrationKey",
    "CatalogError",
    "CheckpointMismatch",
    "ConfigError",
    "DoesNotFit",
    "EngineProfile",
    "Hardware",
    "HardwareError",
    "HostPlan",
    "MemoryBreakdown",
    "Model",
    "ModelRequest",
    "PlanError",
    "ReplicaPlan",
    "SizingError",
    "Term",
    "UnknownArchitecture",
    "Variant",
    "Workload",
    "WorkloadError",
    "architecture_from_config",
    "plan_host",
    "vllm",
]
