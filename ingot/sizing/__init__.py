"""Memory arithmetic and planning: pure, standard library only, deterministic."""

from ingot.sizing.alternatives import Alternative, alternatives
from ingot.sizing.architecture import Architecture
from ingot.sizing.calibration import Calibration, CalibrationKey
from ingot.sizing.config import architecture_from_config
from ingot.sizing.engine import EngineProfile, vllm
from ingot.sizing.engines.on_gpus import plan_on_gpus
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
from ingot.sizing.fit import DoesNotFit
from ingot.sizing.group import plan_group
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.host_memory import HostMemoryError, plan_on_host
from ingot.sizing.loading import kept_loading, with_loading
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.pace import Peak
from ingot.sizing.plan import HostPlan, Loading, ReplicaPlan
from ingot.sizing.planner import fits, plan_host
from ingot.sizing.processor import Processor
from ingot.sizing.request import GOALS, Goal, Model, ModelRequest, Variant, Workload
from ingot.sizing.serving import KINDS, Adapter, EngineArguments, Kind, Speculation, Yarn
from ingot.sizing.throughput import Throughput

__all__ = [
    "GOALS",
    "GPU",
    "KINDS",
    "Adapter",
    "Alternative",
    "Architecture",
    "Calibration",
    "CalibrationKey",
    "CatalogError",
    "CheckpointMismatch",
    "ConfigError",
    "DoesNotFit",
    "EngineArguments",
    "EngineProfile",
    "Goal",
    "Hardware",
    "HardwareError",
    "HostMemoryError",
    "HostPlan",
    "Kind",
    "Loading",
    "MemoryBreakdown",
    "Model",
    "ModelRequest",
    "Peak",
    "PlanError",
    "Processor",
    "ReplicaPlan",
    "SizingError",
    "Speculation",
    "Term",
    "Throughput",
    "UnknownArchitecture",
    "Variant",
    "Workload",
    "WorkloadError",
    "Yarn",
    "alternatives",
    "architecture_from_config",
    "fits",
    "kept_loading",
    "plan_group",
    "plan_host",
    "plan_on_gpus",
    "plan_on_host",
    "vllm",
    "with_loading",
]
