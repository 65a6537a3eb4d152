"""Engines: one file each, from a planned replica to the container that serves it. Pure."""

from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.rollout import Running, Step, leftovers, steps
from ingot.engines.service import Mount, Service
from ingot.engines.vllm import VLLM

__all__ = ["VLLM", "Engine", "Mount", "Replica", "Running", "Service", "Step", "Values", "leftovers", "steps"]
