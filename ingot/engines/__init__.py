"""Engines: one file each, from a planned replica to the container that serves it. Pure."""

from collections.abc import Mapping

from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.llama_cpp import LLAMA_CPP
from ingot.engines.rollout import Running, Step, leftovers, steps
from ingot.engines.service import Mount, Service
from ingot.engines.vllm import VLLM

#: Every engine by the name that `serve` gives it.
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (VLLM, LLAMA_CPP)}

__all__ = [
    "ENGINES",
    "LLAMA_CPP",
    "VLLM",
    "Engine",
    "Mount",
    "Replica",
    "Running",
    "Service",
    "Step",
    "Values",
    "leftovers",
    "steps",
]
