"""How long plans take: 1,000 hosts of eight GPUs with five models each, on one core.

    .venv/bin/python benchmarks/planning_speed.py

Every host differs in free memory, so that no plan is another's. The target is 3 seconds on an idle core.
"""

import sys
import time
from dataclasses import replace

from ingot.catalog import hardware_from_name, load_models
from ingot.sizing import Hardware, ModelRequest, Workload, plan_host, vllm

HOSTS = 1000
KINDS = ("rtx4090x8", "a10gx8", "h100x8", "l40sx8", "a100-80gx8", "rtx5090x8")
MODELS = ("qwen2.5-7b-instruct", "qwen3-8b", "qwen3-4b", "llama-3.2-3b-instruct", "qwen2.5-0.5b-instruct")
TARGET_S = 3.0


def fleet() -> list[Hardware]:
    """The hosts: six kinds in turn, each with a little less memory free than the one before."""
    kinds = [hardware_from_name(kind) for kind in KINDS]
    return [
        Hardware(
            f"gpu-{number:04}",
            tuple(
                replace(gpu, free_bytes=gpu.vram_bytes - number * 1024**2) for gpu in kinds[number % len(kinds)].gpus
            ),
        )
        for number in range(HOSTS)
    ]


def main() -> int:
    models = load_models()
    requests = [ModelRequest(models[name], Workload(4096, 4), replicas=1) for name in MODELS]
    hosts, engine = fleet(), vllm()
    started = time.process_time()
    replicas = sum(len(plan_host(host, requests, engine=engine).replicas) for host in hosts)
    spent_s = time.process_time() - started
    print(f"{HOSTS} hosts x {len(MODELS)} models: {replicas} replicas planned in {spent_s:.2f} s of one core")
    print(f"target: {TARGET_S:.0f} s")
    return int(spent_s > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
