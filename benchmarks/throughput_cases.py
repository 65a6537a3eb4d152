"""Published throughput figures as the estimate's inputs: reads a file of entries, finds model, GPU and split.

An entry states what its author measured. What it leaves out is the engine's own default; where that decides the
figure, the entry is not judged, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sizing_cases import survey_architecture

from ingot.catalog import load_gpus, load_models
from ingot.sizing import Architecture, SizingError, vllm
from ingot.sizing.engine import EngineProfile
from ingot.sizing.pace import REACHED, Pace, Peak, Reached
from ingot.sizing.split import Parallel
from ingot.sizing.start import FLASHINFER_CAPABILITY, Arguments, Device, demand, predict
from ingot.sizing.throughput import Load

# Weights as entries name them, and the scheme of the planner.
WEIGHTS = {
    "bf16": "none", "fp16": "none", "fp8": "fp8", "fp8-block": "fp8-block", "mxfp4": "mxfp4", "awq-int4": "awq-int4",
    "gptq-int4": "gptq-int4", "gptq-int8": "int8", "int8": "int8", "w8a8": "int8", "int4": "int4", "nvfp4": "nvfp4",
    "fp4": "nvfp4", "bnb": "bnb-nf4", "bnb-nf4": "bnb-nf4",
}  # fmt: skip
# Engines that batch as vLLM does; the others are not what the estimate describes.
ENGINES = frozenset({"vllm", "sglang"})
LARGE_DEVICE_GIB = 70
UNSTATED_VERSION = "0.11.0"
# Few requests in flight answer as fast whatever their lengths, as long as prompts are short.
SHORT_PROMPT, SHORT_ANSWER, FEW = 128, 256, 16
MODELS = Path(__file__).resolve().parent.parent / "tests" / "sizing" / "data" / "model_configs.json"


@dataclass(frozen=True)
class Entry:
    """One published figure."""

    raw: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name in the file."""
        return str(self.raw["id"])

    def measured(self) -> float | str:
        """Output tokens/s of the whole run, or why there are none; a total counts the prompts as well."""
        output, total = self.raw.get("output_tok_s"), self.raw.get("total_tok_s")
        if output:
            return float(output)
        prompt, answer = self.raw.get("isl"), self.raw.get("osl")
        if total and prompt and answer:
            return float(total) * answer / (prompt + answer)
        return "it states neither output tokens/s nor a total with its lengths"

    def pace(self, reached: Reached = REACHED) -> Pace | str:
        """The steps of one replica, or why they cannot be known."""
        engine = str(self.raw.get("engine"))
        if engine not in ENGINES:
            return f"it was measured with {engine}, which the estimate does not describe"
        gpu = load_gpus().get(str(self.raw.get("gpu")))
        if gpu is None:
            return f"the GPU {self.raw.get('gpu')!r} is not in the catalog"
        scheme = WEIGHTS.get(str(self.raw.get("weights")))
        if scheme is None:
            return f"its weights are {self.raw.get('weights')!r}, which names no number format"
        count = int(self.raw.get("gpu_count") or 1)
        if count > 1 and (gpu.unified or gpu.largest == 1):
            return "its GPUs stand in several machines"
        tensor = self.raw.get("tp") or (1 if count == 1 else None)
        if tensor is None:
            return "it does not say how several GPUs were used"
        architecture = architecture_of(str(self.raw.get("model")))
        if isinstance(architecture, str):
            return architecture
        return Pace(
            architecture,
            scheme,
            Parallel(int(tensor), int(self.raw.get("pp") or 1)),
            Peak(gpu.bandwidth_gb * 1e9, gpu.bf16_tflops * 1e12, gpu.fp8_tflops * 1e12 if gpu.fp8_tflops else None),
            nvlink=gpu.nvlink,
            batch=self._batch(gpu.memory_mib / 1024),
            overlaps=self._engine().overlaps_steps,
            reached=reached,
        )

    def load(self, pace: Pace) -> Load | str:
        """What was asked of one replica, or why it is not known."""
        prompt, answer, kind = self.raw.get("isl"), self.raw.get("osl"), self.raw.get("load")
        if kind == "closed" and (self.raw.get("concurrency") or FEW + 1) <= FEW:
            prompt, answer = prompt or SHORT_PROMPT, answer or SHORT_ANSWER
        if not answer or not prompt:
            return "its lengths are not stated"
        replicas = int(self.raw.get("replicas") or 1)
        room = self._room(pace, prompt + answer, prompt + answer / 2)
        if kind == "closed":
            sequences = self.raw.get("concurrency")
            if not sequences:
                return "it does not say how many requests were in flight"
            return Load(prompt, answer, min(sequences / replicas, room))
        if kind in ("all-at-once", "offline"):
            requests = self.raw.get("prompts") or self.raw.get("concurrency")
            if not requests:
                return "it does not say how many requests there were"
            bound = re.search(r"max-num-seqs[= ](\d+)", str(self.raw.get("args")))
            sequences = min(requests / replicas, room, int(bound.group(1)) if bound else 10**9)
            return Load(prompt, answer, sequences, requests / replicas, varied="ShareGPT" in str(self.raw.get("notes")))
        return f"its load is {kind!r}: the rate was offered, not reached"

    def replicas(self) -> int:
        """Engines that the figure sums up."""
        return int(self.raw.get("replicas") or 1)

    def _batch(self, memory_gib: float) -> int:
        stated = re.search(r"max-num-batched-tokens[= ](\d+)", str(self.raw.get("args")))
        if stated:
            return int(stated.group(1))
        return 8192 if memory_gib >= LARGE_DEVICE_GIB and "a100" not in str(self.raw.get("gpu")) else 2048

    def _room(self, pace: Pace, longest: int, mean: float) -> float:
        """Sequences that the cache holds at once, at least one."""
        gpu = load_gpus()[str(self.raw["gpu"])]
        engine = self._engine()
        large = gpu.memory_mib / 1024 >= LARGE_DEVICE_GIB and "a100" not in str(self.raw["gpu"])
        most = 1024 if large else 256
        arguments = Arguments(max(longest, 2048), most, pace.batch)
        need = demand(
            pace.architecture,
            pace.quantization,
            pace.parallel,
            arguments,
            engine,
            flashinfer=gpu.capability >= FLASHINFER_CAPABILITY,
            switched=gpu.nvlink,
        )
        device = gpu.hardware(1).gpus[0]
        prediction = predict(need, Device(device.cuda_total_bytes, device.cuda_total_bytes), engine.utilization, engine)
        held = need.geometry.concurrency(max(prediction.available, 0), int(mean), pace.batch)
        return float(max(min(held, most), 1))

    def _engine(self) -> EngineProfile:
        """The profile of its engine; a version that is not stated is one of the middle of 2025."""
        version = str(self.raw.get("engine_version"))
        stated = self.raw.get("engine") == "vllm" and re.match(r"\d+\.\d+", version)
        return vllm(version if stated else UNSTATED_VERSION)


def load_entries(path: Path) -> list[Entry]:
    """Every entry of a file."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [Entry(raw) for raw in (stored["entries"] if isinstance(stored, dict) else stored)]


def architecture_of(model: str) -> Architecture | str:
    """The shape of a model by its repository's name, or of one that differs from it in weights or tuning alone."""
    wanted = _bare(model)
    known = _known()
    if wanted in known:
        return known[wanted]
    # A digit that follows is another version or size.
    near = [name for name in known if re.match(rf"{name}(?!\d)", wanted) or re.match(rf"{wanted}(?!\d)", name)]
    if near:
        return known[max(near, key=len)]
    return f"the planner does not know the shape of {model}, or refuses it"


def _bare(model: str) -> str:
    """A repository's name without owner, number format, tuning and date."""
    name = model.split("/")[-1].lower()
    name = re.sub(r"\(.*?\)", "", name)
    name = re.sub(r"[-_. ](fp8|awq|gptq|int4|int8|bf16|mxfp4|nvfp4|fp4|w4a16|w8a8|dynamic|block)\b", "", name)
    name = re.sub(r"[-_. ](instruct|chat|it|hf|base|thinking|preview)\b", "", name)
    name = re.sub(r"[-_ ](\d{4}|v0\.\d+)$", "", name.strip())
    return re.sub(r"[^a-z0-9]", "", name.removeprefix("meta-"))


_SHAPES: dict[str, Architecture] = {}


def _known() -> dict[str, Architecture]:
    if not _SHAPES:
        for survey in json.loads(MODELS.read_text(encoding="utf-8")):
            try:
                _SHAPES.setdefault(_bare(survey["model_id"]), survey_architecture(survey))
            except SizingError:
                continue
        for model in load_models().values():
            for variant in model.variants:
                _SHAPES[_bare(variant.repository)] = variant.architecture
    return _SHAPES
