"""`make gpu`: what it says without a GPU, how it compares and writes, and the catalog held to what was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from ingot.catalog import load_gpus

pytestmark = [pytest.mark.driver, pytest.mark.found]

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts/gpu-record"
UUID = "GPU-00000000-0000-0000-0000-000000000001"


def load() -> Any:
    loader = SourceFileLoader("gpu_record", str(SCRIPT))
    spec = spec_from_loader("gpu_record", loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


RECORDER = load()


def run(tmp_path: Path, torch: str | None) -> subprocess.CompletedProcess[str]:
    """The script by a Python of its own that has such a torch."""
    if torch is not None:
        (tmp_path / "torch.py").write_text(torch)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, str(SCRIPT)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.parametrize(
    ("torch", "says"),
    [
        (None, "has no torch"),
        ("__version__ = '2.13.0+cpu'\nclass version: cuda = None\n", "built without CUDA"),
        (
            "__version__ = '2.13.0'\nclass version: cuda = '13.0'\nclass cuda:\n    is_available = lambda: False\n",
            "torch sees none",
        ),
    ],
)
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, torch: str | None, says: str) -> None:
    before = sorted((ROOT / "docs/hardware").iterdir())
    done = run(tmp_path, torch)
    assert done.returncode == 0, done.stderr
    assert "There is no GPU to measure" in done.stdout and says in done.stdout
    assert sorted((ROOT / "docs/hardware").iterdir()) == before


OWN = {
    "name": "NVIDIA H200",
    "bus_id": "0000:83:00.0",
    "total_bytes": 143771 << 20,
    "used_bytes": 0,
    "driver_version": "580.173.02",
    "capability": [9, 0],
    "ecc": True,
}
TORCH = {"name": "NVIDIA H200", "total_bytes": 150_023_000_000, "free_bytes": 1, "capability": [9, 0]}
NVML = {"name": "NVIDIA H200", "total_bytes": (143771 << 20) - 4096, "capability": [9, 0]}


@pytest.mark.parametrize(
    ("torch", "nvml", "says"),
    [
        (TORCH, NVML, []),
        (None, NVML, ["torch does not know this GPU"]),
        ({**TORCH, "capability": [9, 1]}, NVML, ["its capability is [9, 0], and [9, 1] for torch"]),
        (TORCH, {**NVML, "name": "NVIDIA H100"}, ["its name is 'NVIDIA H200', and 'NVIDIA H100' for NVML"]),
        (TORCH, {**NVML, "total_bytes": 80 << 30}, ["its memory is"]),
        ({**TORCH, "total_bytes": 130 << 30}, NVML, ["its memory is"]),
    ],
)
def test_facts_are_compared_with_torch_and_nvml(torch: Any, nvml: Any, says: list[str]) -> None:
    said = RECORDER.disagreements(OWN, torch, nvml)
    assert len(said) == len(says)
    assert all(line.startswith(words) for line, words in zip(said, says, strict=True))


MEASURED = {
    "nvidia_smi": {UUID: OWN, "GPU-2": OWN},
    "torch": {"version": "2.13.0", "cuda": "13.0", "gpus": {UUID: TORCH}},
    "nvml": {UUID: NVML},
    "corruption_check": {"same_twice": True, "flip_seen": True},
    "decode": {"weights_gb_per_s_by_batch": {"1": 4100.0}},
    "burn_in": {
        "lines": [
            {"phase": "software", "torch": "2.13.0", "cuda": "13.0", "gpus": [UUID, "GPU-2"]},
            {"phase": "matmul", "gpu": UUID, "tflops": 760.0, "dtype": "bfloat16"},
            {"phase": "matmul", "gpu": "GPU-2", "tflops": 1.0, "dtype": "bfloat16"},
            {"phase": "copy", "gpu": UUID, "gb_per_s": 4200.0},
            {"phase": "error", "during": "peer", "gpu": UUID, "text": "OSError: no peer"},
        ]
    },
}


def test_a_model_has_one_record_whatever_its_count() -> None:
    ((path, record),) = RECORDER.records(MEASURED)
    assert (path.name, record["count"], record["disagreements"]) == ("h200.json", 2, [])
    assert record["burn_in"]["matmul"] == {"tflops": 760.0, "dtype": "bfloat16"}
    assert record["errors"] == ["OSError: no peer"]
    assert json.loads(json.dumps(record)) == record


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RECORDER, "no_gpu", lambda: None)
    monkeypatch.setattr(RECORDER, "PARTIAL", tmp_path / "build/partial.json")
    monkeypatch.setattr(RECORDER, "RECORDS", tmp_path / "docs")
    monkeypatch.setattr(RECORDER, "ROOT", tmp_path)
    asked: list[str] = []

    def step(name: str, fails: bool = False) -> Any:
        def answer() -> Any:
            asked.append(name)
            if fails:
                raise OSError("cut off")
            return MEASURED[name]

        return answer

    names = {"nvidia_smi": "smi_facts", "torch": "torch_facts", "nvml": "nvml_facts", "decode": "decode_rate"}
    for name in MEASURED:
        monkeypatch.setattr(RECORDER, names.get(name, name), step(name, fails=name == "burn_in"))
    assert RECORDER.main([]) == 1
    monkeypatch.setattr(RECORDER, "burn_in", step("burn_in"))
    asked.clear()
    assert RECORDER.main([]) == 0
    assert asked == ["burn_in"], "what was measured is not measured again"
    assert json.loads((tmp_path / "docs/h200.json").read_text())["burn_in"]["copy"] == {"gb_per_s": 4200.0}
    assert not (tmp_path / "build/partial.json").exists()


def against_the_catalog(record: dict[str, Any]) -> list[str]:
    """Where the catalog and a record differ by more than measurements of one model do."""
    known = next((one for one in load_gpus().values() if one.name == record["name"]), None)
    if known is None:
        return [f"{record['name']} is not in the catalog"]
    (gpu,) = known.hardware(1).gpus
    said = []
    if abs(gpu.vram_bytes - record["nvidia_smi"]["total_bytes"]) > 64 << 20:
        said.append(f"memory {gpu.vram_bytes}, measured {record['nvidia_smi']['total_bytes']}")
    if list(gpu.compute_capability or ()) != record["nvidia_smi"]["capability"]:
        said.append(f"capability {gpu.compute_capability}, measured {record['nvidia_smi']['capability']}")
    copied = record["burn_in"].get("copy", {}).get("gb_per_s")
    if copied and not 0.6 <= copied / known.bandwidth_gb <= 1.05:
        said.append(f"bandwidth {known.bandwidth_gb}, measured {copied} GB/s")
    product = record["burn_in"].get("matmul", {}).get("tflops")
    if product and not 0.4 <= product / known.bf16_tflops <= 1.1:
        said.append(f"peak {known.bf16_tflops}, measured {product} TFLOP/s")
    return said


def test_the_catalog_is_what_was_measured() -> None:
    for path in sorted((ROOT / "docs/hardware").glob("*.json")):
        record = json.loads(path.read_text())
        assert against_the_catalog(record) == [], path.name
        assert record["disagreements"] == [] and record["errors"] == [], path.name
        assert record["corruption_check"]["flip_seen"], path.name


def test_a_record_that_the_catalog_does_not_have_is_seen() -> None:
    ((_, record),) = RECORDER.records(MEASURED)
    assert against_the_catalog(record) == []
    slow = {**record, "burn_in": {"copy": {"gb_per_s": 400.0}, "matmul": {"tflops": 9000.0}}}
    assert len(against_the_catalog(slow)) == 2
    assert against_the_catalog({**record, "name": "NVIDIA X"}) == ["NVIDIA X is not in the catalog"]
    small = {**record, "nvidia_smi": {"total_bytes": 1 << 30, "capability": [8, 0]}}
    assert len(against_the_catalog(small)) == 2
