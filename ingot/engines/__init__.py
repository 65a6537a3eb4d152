"""Engines: one file each, from a planned replica to the container that serves it. Pure."""

from collections.abc import Mapping

from ingot.engines.engine import Engine, Replica, Store, Values, Weights
from ingot.engines.llama_cpp import LLAMA_CPP, LLAMA_CPP_CUDA
from ingot.engines.lm_studio import LM_STUDIO
from ingot.engines.ollama import OLLAMA
from ingot.engines.rollout import Running, Step, leftovers, steps
from ingot.engines.service import Mount, Service
from ingot.engines.sglang import SGLANG
from ingot.engines.tensorrt_llm import TENSORRT_LLM
from ingot.engines.tgi import TGI
from ingot.engines.vllm import VLLM

#: Every engine that a deploy starts, by the name that `serve` gives it.
ENGINES: Mapping[str, Engine] = {
    engine.name: engine for engine in (VLLM, LLAMA_CPP, LLAMA_CPP_CUDA, SGLANG, TENSORRT_LLM, TGI, OLLAMA, LM_STUDIO)
}

__all__ = [
    "ENGINES",
    "LLAMA_CPP",
    "LLAMA_CPP_CUDA",
    "VLLM",
    "Engine",
    "Mount",
    "Replica",
    "Running",
    "Service",
    "Step",
    "Store",
    "Values",
    "Weights",
    "leftovers",
    "steps",
]
