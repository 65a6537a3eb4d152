"""Published engine starts as the planner's inputs: reads case and model files, fills in what the engine would default.

A case states what its author logged. What it leaves out is taken from the engine's own defaults for that device and
version; what cannot be known is a reason, never a guess that is kept silent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingot.catalog import load_gpus
from ingot.sizing import SizingError
from ingot.sizing.architecture import Architecture, Encoder
from ingot.sizing.config import architecture_from_config
from ingot.sizing.engine import FLASHINFER, EngineProfile, vllm
from ingot.sizing.families import MODELLED, NOT_MODELLED
from ingot.sizing.split import Parallel
from ingot.sizing.start import Arguments, Device
from ingot.sizing.units import GIB, gib

# Architecture names whose model type is not the name without its suffix.
MODEL_TYPES = {
    "BertModel": "bert",
    "DeciLMForCausalLM": "nemotron-nas",
    "DotsOCRForCausalLM": "dots_ocr",
    "GPT2LMHeadModel": "gpt2",
    "HunYuanDenseV1ForCausalLM": "hunyuan_v1_dense",
    "HunYuanMoEV1ForCausalLM": "hunyuan_v1_moe",
    "InternVLChatModel": "internvl_chat",
    "QWenLMHeadModel": "qwen",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
}
# GPU names as people write them, most specific first, and their key in the catalog.
GPU_NAMES = (
    (r"rtx pro 6000", "rtxpro6000"),
    (r"6000 ada", "rtx6000ada"),
    (r"5070 ?ti", "rtx5070ti"),
    (r"5060 ?ti", "rtx5060ti"),
    (r"5080", "rtx5080"),
    (r"5090", "rtx5090"),
    (r"4090", "rtx4090"),
    (r"4080", "rtx4080"),
    (r"4070(?! ?ti)(?!.*laptop)", "rtx4070"),
    (r"4060 ?ti", "rtx4060ti"),
    (r"4060", "rtx4060"),
    (r"3090", "rtx3090"),
    (r"3080(?! ?ti)", "rtx3080"),
    (r"3060", "rtx3060"),
    (r"2080 ?ti", "rtx2080ti"),
    (r"b300", "b300"),
    (r"gb10", "gb10"),
    (r"gh200", "gh200"),
    (r"b200", "b200"),
    (r"v100.*32", "v100-32g"),
    (r"v100.*16", "v100-16g"),
    (r"h200", "h200"),
    (r"h20-3e|h20.*141", "h20-141g"),
    (r"h20.*96", "h20"),
    (r"h800", "h100"),
    (r"h100 ?nvl", "h100-nvl"),
    (r"h100", "h100"),
    (r"a100.*40|40g.*a100", "a100-40g"),
    (r"a[18]00.*80|80g.*a100", "a100-80g"),
    (r"\ba800\b", "a100-80g"),
    (r"\ba30\b", "a30"),
    (r"\ba40\b", "a40"),
    (r"\bl40\b", "l40"),
    (r"\ba16\b", "a16"),
    (r"l40s", "l40s"),
    (r"a6000", "rtxa6000"),
    (r"a5000", "rtxa5000"),
    (r"a10g", "a10g"),
    (r"\ba10\b", "a10"),
    (r"\bl4\b", "l4"),
    (r"\bt4\b", "t4"),
)
LORA = r"\+ \d+ lora|enable[_-]lora'?[=:]\s*true|--enable-lora|-lora\d*-"
LARGE_DEVICE = 70 * GIB
HUGE_DEVICE = 160 * GIB


@dataclass(frozen=True)
class Case:
    """One published start: what was asked, and what its log said."""

    id: str
    tier: str
    raw: Mapping[str, Any]
    survey: Mapping[str, Any] | None

    @property
    def observed(self) -> Mapping[str, Any]:
        """The logged numbers."""
        return self.raw["observed"]

    @property
    def asserted(self) -> bool:
        """Whether the case may be asserted (tiers A and B)."""
        return self.tier in ("A", "B")

    def text(self) -> str:
        """All that the case says in words."""
        parts = (self.raw.get("verbatim"), self.raw.get("notes"), self.id, self.raw.get("model_id"))
        return "\n".join(part for part in parts if part)

    # --- what the planner needs

    def engine(self) -> EngineProfile:
        """The engine's profile: by version, else by what the wording of the log and the era tell."""
        version = self.raw.get("vllm_version") or ""
        wording = (self.raw.get("formula_check") or {}).get("token_log_wording") or ""
        if re.match(r"\d+\.\d+", version) and not version.startswith("0.1."):
            profile = vllm(version)
        elif self.raw["era"] == "V0":
            profile = vllm("0.6.0")
        elif wording.startswith("int(") or "default since v0.21" in self.text():
            profile = vllm("0.21.0")
        else:
            profile = vllm("0.11.0")
        if wording.startswith("int("):
            profile = replace(profile, capacity_wording="concurrency")
        elif wording.startswith("blocks"):
            profile = replace(profile, capacity_wording="groups")
        if self.raw["era"] == "V0":
            profile = replace(
                vllm("0.6.0"),
                version=profile.version,
                capacity_wording=profile.capacity_wording,
                latent_cache=profile.latent_cache if self.raw.get("vllm_version") else True,
            )
        if "using flashinfer for top-p" in self.text().lower():
            profile = replace(profile, sampler_copies=FLASHINFER, sampler_copies_flashinfer=FLASHINFER)
        if re.search(
            r"disable[_-]hybrid[_-]kv[_-]cache[_-]manager|kv_transfer_config'?[=:]\s*(?!none)\S", self.text().lower()
        ):
            profile = replace(profile, hybrid_cache=False)
        return profile

    def architecture(self) -> Architecture | str:
        """The model's shape, or why there is none."""
        if self.survey is None:
            return "the case names no model whose shape is known"
        try:
            return survey_architecture(self.survey)
        except SizingError as error:
            return str(error)

    def quantization(self) -> str:
        """The weights' number format, from the flag, the model's name and the survey's note."""
        named = " ".join(str(self.raw.get(key) or "") for key in ("quantization", "model_id")).lower()
        for pattern, scheme in (
            (r"mxfp4|gpt-oss", "mxfp4"),
            (r"fp4", "nvfp4"),
            (r"gguf.*q8|q8_0", "gguf-q8"),
            (r"w8a8|int8", "int8"),
            (r"gptq", "gptq-int4"),
            (r"awq", "awq-int4"),
            (r"w4a16|int4|auto_round|autoround", "int4"),
            (r"bnb|bitsandbytes", "bnb-nf4"),
            (r"fp8", "fp8"),
        ):
            if re.search(pattern, named):
                return scheme
        noted = str((self.survey or {}).get("quantization_config") or "").lower()
        if self.raw.get("model_id") == self.raw.get("config_id"):
            if "fp8" in noted:
                return "fp8-block" if "block" in noted else "fp8"
            if "awq" in noted:
                return "awq-int4"
        return "none"

    def parallel(self) -> Parallel:
        """Tensor, pipeline and data parallel sizes; unstated is one."""
        tensor, pipeline = self.raw.get("tp") or 1, self.raw.get("pp") or 1
        stated = re.search(r"(?:data[_-]parallel[_-]size'?\s*[:= ]\s*|\bdp)(\d+)", self.text())
        data = max(int(stated.group(1)), 1) if stated else 1
        expert = bool(re.search(r"enable[_-]expert[_-]parallel|expert parallel|\bEP\b", self.text())) or data > 1
        return Parallel(tensor, pipeline, data, expert)

    def device(self) -> Device | str:
        """The GPU as the engine saw it, or why it is unknown."""
        logged = self.observed.get("gpu_total_gib")
        name = self.gpu_name() + (" 141" if "141 GB" in self.text() else "")
        model = next((key for pattern, key in GPU_NAMES if re.search(pattern, name)), None)
        known = load_gpus()[model] if model else None
        if logged:
            total, band = gib(logged), 0
        elif known and "+" not in self.gpu_name():
            gpu = known.hardware(1).gpus[0]
            total, band = gpu.cuda_total_bytes, gpu.cuda_total_band_bytes or gib(0.05)
        else:
            return "the case does not say how much memory the GPU has"
        free = self.observed.get("gpu_free_at_start_gib")
        return Device(
            total=total,
            free=gib(free) if free else total,
            total_band=band,
            capability=known.capability if known else None,
            unified=bool(known and known.unified),
        )

    def gpu_name(self) -> str:
        """The GPU's name in small letters."""
        return str(self.raw.get("gpu") or "").lower()

    def utilization(self, engine: EngineProfile) -> float:
        """The share of memory the engine may take: as its requested bytes tell, as stated, or its default."""
        observed = self.observed
        if observed.get("requested_gib") and observed.get("gpu_total_gib"):
            return float(observed["requested_gib"]) / float(observed["gpu_total_gib"])
        if self.raw.get("gpu_memory_utilization"):
            return float(self.raw["gpu_memory_utilization"])
        return engine.utilization

    def states_utilization(self) -> bool:
        """Whether the share of memory is known: stated, or left out of arguments that are shown."""
        stated = self.raw.get("gpu_memory_utilization") or self.observed.get("requested_gib")
        return bool(stated) or bool(re.search(r"non-default args|\(default\)", self.text()))

    def arguments(self, architecture: Architecture, device: Device | None) -> Arguments:
        """The engine's arguments, the unstated ones as the engine defaults them for this device."""
        raw, old, engine = self.raw, self.raw["era"] == "V0", self.engine()
        stated = raw.get("enable_prefix_caching")
        if stated is None and re.search(r"enable_prefix_caching'?[=:] ?true", self.text().lower()):
            stated = True
        batched = raw.get("max_num_batched_tokens")
        huge = bool(device and device.total >= HUGE_DEVICE)
        large = bool(device and device.total >= LARGE_DEVICE and "a100" not in self.gpu_name()) and not old
        if batched == 2048 and "'max_num_batched_tokens'" not in self.text():
            large = False  # a large device would have defaulted to 8192
        length = raw.get("max_model_len") or architecture.max_model_len or 8192
        context = re.search(r"decode[_-]context[_-]parallel[_-]size'?[:= ]+(\d+)", self.text())
        return Arguments(
            max_model_len=length,
            max_num_seqs=raw.get("max_num_seqs") or (1024 if large else 256),
            max_num_batched_tokens=batched or (16384 if huge and large else 8192 if large else 2048),
            kv_cache_dtype="fp8" if "fp8" in str(raw.get("kv_cache_dtype")) else "auto",
            enforce_eager=bool(raw.get("enforce_eager")),
            prefix_caching=engine.state_prefix_caching if stated is None else bool(stated),
            speculative=self.speculative() or 0,
            draft_layers=1 if self.speculative() else 0,
            block_size=self.observed.get("block_size"),
            context_parallel=int(context.group(1)) if context else 1,
            encoder=not re.search(
                r"language_model_only'?[=:]\s*true|--language-model-only|multimodal.* are set to 0", self.text().lower()
            ),
            pooling=bool(re.search(r"embed|rerank", str(raw.get("model_id")).lower())),
            compiles=not re.search(r"warm (?:compile|start|restart)|, warm\b", self.text().lower()),
        )

    def overrides_blocks(self) -> bool:
        """Whether the number of blocks was given rather than derived."""
        return bool(re.search(r"num_gpu_blocks_override': \d|--num-gpu-blocks-override[= ]\d", self.text()))

    def speculates(self) -> bool:
        """Whether the start loads a draft to guess tokens ahead."""
        text = self.text().lower()
        return bool(
            re.search(r"speculative_config'?[=:]\s*(?!none)\S|num_speculative|speculative/mtp|\bmtp k=|dflash", text)
        )

    def speculative(self) -> int | None:
        """Tokens guessed ahead by the model's own MTP layer; None where there are none or their number is not said."""
        text = self.text().lower()
        number = re.search(r"num_speculative_tokens'?[=: ]+(\d+)|\bmtp k=(\d+)", text)
        if not number or "mtp" not in text:
            return None
        return int(number.group(1) or number.group(2))

    def unjudgeable(self) -> str | None:
        """What makes the start's memory unpredictable from GPU and config, if anything does."""
        if re.search(LORA, self.text().lower()):
            return "it loads LoRA adapters whose rank the case does not state"
        if self.speculates():
            return "it loads a speculative draft that the case does not describe"
        by_unsloth = re.search(r"unsloth", str(self.raw.get("notes")) + str(self.raw.get("model_id")))
        if by_unsloth and self.raw.get("max_num_seqs") is None and "engine" not in self.text():
            return "unsloth chose max_num_seqs and the case does not say it"
        if self.quantization() == "none" and re.search(r"quanti[sz]ed", str(self.raw.get("model_id")).lower()):
            return "the case does not say how its weights are quantised"
        if re.search(
            r"kv[_-]cache[_-]memory[_-]bytes'?[=: ]+\d|num[_-]gpu[_-]blocks[_-]override'?[=: ]+\d", self.text()
        ):
            return "its cache was given a size and not what was left"
        if re.search(r"cpu[_-]offload[_-]gb'?[=: ]+[1-9]", self.text()):
            return "it keeps weights in host memory"
        return None


def _plain(name: str) -> str:
    """A name without what spellings differ in."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


KNOWN_TYPES = {_plain(known): known for known in (*MODELLED, *NOT_MODELLED)}


def load_cases(cases: Path, models: Path) -> list[Case]:
    """Every case of a file, with the surveyed shape of its model."""
    surveyed = {survey["model_id"]: survey for survey in json.loads(models.read_text(encoding="utf-8"))}
    stored = json.loads(cases.read_text(encoding="utf-8"))
    return [
        Case(
            raw["id"],
            str(raw.get("tier", "C")),
            raw,
            surveyed.get(raw.get("model_id")) or surveyed.get(raw.get("config_id")),
        )
        for raw in stored
    ]


def survey_architecture(survey: Mapping[str, Any]) -> Architecture:
    """A surveyed shape as an Architecture. Raises SizingError for one that is not known well enough."""
    config = {key: value for key, value in survey.items() if value is not None}
    name = str(config.get("architecture") or "").split("/")[-1]
    config["architectures"] = [name]
    bare = re.sub(r"For[A-Z].*", "", name)
    config.setdefault("model_type", MODEL_TYPES.get(name) or KNOWN_TYPES.get(_plain(bare), bare.lower()))
    config.pop("quantization_config", None)
    note = str(config.get("layer_types_note") or config.get("source") or "")
    mixed = re.search(r"(\d+) attention(?: \+ (\d+) mamba2| layers)", note)
    if mixed and "layer_types" not in config and config["model_type"] in ("granitemoehybrid", "nemotron_h"):
        config = _with_pattern(config, int(mixed.group(1)))
    architecture = architecture_from_config(config)
    stated = int(float(config.get("param_count_b") or 0) * 1e9)
    missing = stated - architecture.parameters
    multimodal = "Conditional" in name or "vision_depth" in config or "OCR" in name
    if multimodal and missing > 0:
        return _with_encoder(architecture, missing)
    head = architecture.vocab_size * architecture.hidden_size
    if stated and not architecture.tied and -missing > head // 2:
        return replace(architecture, head=architecture.head[:1], tied=True)
    return architecture


def _with_pattern(config: dict[str, Any], attention: int) -> dict[str, Any]:
    """A hybrid whose survey counts attention layers: spread them evenly, which the arithmetic does not tell apart."""
    depth = config["num_hidden_layers"]
    places = {(2 * one + 1) * depth // (2 * attention) for one in range(attention)}
    if config["model_type"] == "nemotron_h":
        rest = [place for place in range(depth) if place not in places]
        mamba = {place for order, place in enumerate(rest) if order % 2 == 0}
        config["hybrid_override_pattern"] = "".join(
            "*" if place in places else "M" if place in mamba else "-" for place in range(depth)
        )
    else:
        config["layer_types"] = ["attention" if place in places else "mamba" for place in range(depth)]
        config.setdefault("intermediate_size", 768)
        config.setdefault("shared_intermediate_size", 1536)
    return config


def _with_encoder(architecture: Architecture, parameters: int) -> Architecture:
    """The architecture with an encoder of so many parameters, where a catalog knows better than the config."""
    known = architecture.encoder
    hidden, depth = (known.hidden_size, known.depth) if known else (0, 0)
    return replace(architecture, encoder=Encoder(parameters, hidden, depth))
