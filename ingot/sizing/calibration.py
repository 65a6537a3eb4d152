"""What an engine really used on this very shape, so that the next plan needs no default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ingot.sizing.errors import PlanError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CalibrationKey:
    """What must be equal for a measurement to hold for a plan."""

    repository: str
    quantization: str
    engine: str
    build: str
    gpu: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    enforce_eager: bool = False
    data_parallel_size: int = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """The engine's own numbers of one start, in bytes per GPU (the tightest one); None where it did not say.

    They come from its log ("Model loading took", "Available KV cache memory", graph capture) and from the metric
    `vllm:cache_config_info`. What a start says that `compiled` the model holds for its weights alone: the next one
    finds the compile cache and has more left. `loading_s` is how long it read weights ("Loading weights took"), in the
    way `loading` of its plan; None: the engine's own. The rates are those of one request that came alone, where the
    engine's answers tell them.
    """

    key: CalibrationKey
    weights_bytes: int | None = None
    available_kv_bytes: int | None = None
    kv_cache_tokens: int | None = None
    num_gpu_blocks: int | None = None
    activation_bytes: int | None = None
    non_torch_bytes: int | None = None
    graphs_bytes: int | None = None
    gpu_total_bytes: int | None = None
    gpu_memory_utilization: float | None = None
    measured_at: str | None = None
    compiled: bool = False
    loading_s: float | None = None
    loading: str | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The measurement as JSON-able values; `from_dict` reads it back."""
        values = asdict(self)
        if self.decode_tokens_per_s is None:
            # As versions wrote it that knew no rates.
            del values["prefill_tokens_per_s"], values["decode_tokens_per_s"]
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Calibration:
        """The measurement that `to_dict` wrote. Raises PlanError."""
        try:
            values = dict(stored)
            return cls(key=CalibrationKey(**values.pop("key")), **values)
        except (KeyError, TypeError) as error:
            raise PlanError(
                f"A stored measurement cannot be read ({error}): remove /var/lib/ingot/measured.json and deploy again."
            ) from error


def dump(calibrations: Iterable[Calibration]) -> dict[str, Any]:
    """What /var/lib/ingot/measured.json holds: `{"schema": 1, "measured": [...]}`."""
    return {"schema": SCHEMA, "measured": [calibration.to_dict() for calibration in calibrations]}


def load(stored: Mapping[str, Any]) -> tuple[Calibration, ...]:
    """The measurements that `dump` wrote. Raises PlanError."""
    if stored.get("schema") != SCHEMA or not isinstance(stored.get("measured"), list):
        raise PlanError(
            f"The stored measurements have schema {stored.get('schema')!r}, expected {SCHEMA}: "
            "remove /var/lib/ingot/measured.json and deploy again."
        )
    return tuple(Calibration.from_dict(item) for item in stored["measured"])
