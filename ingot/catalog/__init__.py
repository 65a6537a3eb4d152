"""Models and GPUs as data: YAML beside this file, read into the planner's types."""

from ingot.catalog.load import GPUModel, hardware_from_name, load_gpus, load_models, peaks

__all__ = ["GPUModel", "hardware_from_name", "load_gpus", "load_models", "peaks"]
