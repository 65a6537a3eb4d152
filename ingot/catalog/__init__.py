"""Models and GPUs as data: YAML beside this file, read into the planner's types."""

from ingot.catalog.load import GPUModel, hardware_from_name, load_gpus, load_models, peaks
from ingot.catalog.names import find_model

__all__ = ["GPUModel", "find_model", "hardware_from_name", "load_gpus", "load_models", "peaks"]
