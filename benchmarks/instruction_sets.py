"""Run the engine image's vLLM under each instruction set that can be chosen here, and print what became of it.

    python benchmarks/instruction_sets.py [--emulate Haswell]

Needs root, and minutes; `--emulate` runs it under qemu-user as that processor too (package qemu-user-static).
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from ingot.sandbox import Paths, engine_image, requirements
from ingot.sandbox.tiny_models import generator

LIMIT_S = 900
EMULATOR = Path("/usr/bin/qemu-x86_64-static")
#: What is set beside, or instead of, the image's own variables -> a row of the table.
CHOICES: dict[str, dict[str, str]] = {
    "as the image is": {},
    "ATen without AVX2": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen with AVX-512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "oneDNN up to SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN up to AVX": {"ONEDNN_MAX_CPU_ISA": "AVX"},
    "oneDNN up to AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "oneDNN up to AVX-512 BF16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "oneDNN up to AMX": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    "MKL with AVX-512": {"MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    "OpenBLAS with AVX-512": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "glibc without AVX2": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS"},
    "bfloat16": {"INGOT_DTYPE": "bfloat16"},
}
#: In the image: answers of a few tokens to prompts of these lengths, alone and together.
PROGRAM = """
import json, os, re
import torch
from vllm import LLM, SamplingParams
model = LLM("/model", dtype=os.environ.get("INGOT_DTYPE", "float32"), enforce_eager=True, max_model_len=1024,
            max_num_seqs=4, kv_cache_memory_bytes=67108864, disable_log_stats=True)
few = SamplingParams(max_tokens=4, temperature=0, ignore_eos=True)
for size in (1, 2, 16, 17, 63, 64, 300):
    (answer,) = model.generate(["1" * size], few, use_tqdm=False)
    assert len(answer.outputs[0].token_ids) == 4
assert len(model.generate(["1", "two", "3" * 40, "4" * 200], few, use_tqdm=False)) == 4
kernels = sorted(set(re.findall(r"/vllm/(_C[^/\\n]*)[.]abi3", open("/proc/self/maps").read())))
print("FOUND", json.dumps({"aten": torch.backends.cpu.get_cpu_capability(), "vllm": kernels}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulate", help="a processor that qemu-user knows, such as Haswell")
    emulate = parser.parse_args().emulate
    paths = Paths.from_environment()
    image = engine_image.ensure(paths, print)
    cpuinfo = requirements.CPUINFO.read_text()
    beyond = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in cpuinfo.split()]
    print(f"processor: {requirements.processor(cpuinfo)} ({', '.join(beyond)})\n")
    print("| chosen | answered | ATen's kernels | vLLM's kernels | seconds |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=paths.cache) as work:
        root = unpack(paths.mirror / "images" / image.archive, Path(work))
        shutil.copytree(generator.make(paths.mirror / "models"), root / "model")
        for chosen, variables in CHOICES.items():
            print(row(chosen, root, variables), flush=True)
        if emulate:
            shutil.copy(EMULATOR, root / "emulator")
            print(row(f"emulated: {emulate}", root, {}, ("/emulator", "-cpu", emulate)), flush=True)


def unpack(archive: Path, work: Path) -> Path:
    """The image's layers over one another, in a directory."""
    root = work / "root"
    root.mkdir()
    subprocess.run(["tar", "--extract", f"--file={archive}", f"--directory={work}"], check=True)
    (described,) = json.loads((work / "manifest.json").read_text())
    for layer in described["Layers"]:
        subprocess.run(["tar", "--extract", f"--file={work / layer}", f"--directory={root}"], check=True)
    for directory in ("dev", "proc", "sys", "tmp"):
        (root / directory).mkdir(exist_ok=True)
    return root


def row(chosen: str, root: Path, variables: dict[str, str], emulator: tuple[str, ...] = ()) -> str:
    """One start with these variables, as a line of the table."""
    own = dict(line.partition("=")[::2] for line in engine_image.CONFIG["Env"])
    environment = {**own, "HOME": "/tmp", "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment |= variables
    mounts = (
        f"mount -t proc proc {root}/proc; mount --rbind /sys {root}/sys; mount --rbind /dev {root}/dev; "
        f'mount -t tmpfs tmp {root}/tmp; exec chroot {root} "$@"'
    )
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c"]
    words = [f"{name}={value}" for name, value in environment.items()]
    program = [*emulator, "/usr/bin/python3.11", "-c", PROGRAM]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*isolated, mounts, "sh", "/usr/bin/env", "-i", *words, *program],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"| {chosen} | no: not within {LIMIT_S} s | | | |"
    seconds = time.monotonic() - began
    found = next((line for line in done.stdout.splitlines() if line.startswith("FOUND ")), None)
    if found is None:
        return f"| {chosen} | no: {_ending(done)} | | | {seconds:.0f} |"
    kernels = json.loads(found.removeprefix("FOUND "))
    return f"| {chosen} | yes | {kernels['aten']} | {', '.join(kernels['vllm'])} | {seconds:.0f} |"


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0 or done.returncode > 128:
        return signal.Signals(-done.returncode if done.returncode < 0 else done.returncode - 128).name
    return (done.stderr.strip().splitlines() or ["no word"])[-1][:120]


if __name__ == "__main__":
    main()
