"""Burn-in of GPUs: rates, memory, links, all-reduce, and a soak that compares every product bit by bit.

One file that needs torch and nothing else: Ingot runs it inside the engine's own image, and anybody can run it where
torch is (`python burnin.py`). One JSON object per line goes to standard output, as soon as it is known. A phase is one
round of processes, one per GPU, so that a GPU that fails takes no other along. Exit status: 0 when every phase was
gone through (whatever it measured), 1 when one could not be, 3 where torch sees no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

#: Phases in their order; `link` and `peer` measure one GPU at a time, since neighbours share bridges.
PHASES = ("host_memory", "matmul", "copy", "link", "peer", "memory", "all_reduce", "soak")
#: Square matrices of this size keep every tensor core busy; a GPU with little free memory gets smaller ones.
MATRIX = 8192
CPU_MATRIX = 512
MIB = 1 << 20
#: How much of the free memory the memory test fills, in chunks.
MEMORY_SHARE = 0.9
CHUNK_BYTES = 256 * MIB
#: Patterns whose bits alternate, and their complements (as signed 32-bit integers).
PATTERNS = (0x55555555, -0x55555556, 0x0F0F0F0F, -0x0F0F0F10)
#: Elements of the soak's product that float64 on the CPU must confirm, spread over the matrix.
SAMPLES = 64
#: bf16 keeps 8 bits of a number and of partial sums: an honest element is within this share of its own size and of the
#: size that sums of that many random terms have.
SAMPLE_TOLERANCE = 0.02
#: Products of the soak between two comparisons, and how many points its trace has at most.
PRODUCTS = 8
POINTS = 200
#: Corrupted products that are described one by one; all are counted.
DESCRIBED = 10
#: A round is ended this long after its own time: contexts of eight GPUs and NCCL take up to a minute.
PATIENCE_S = 180


def say(**values: Any) -> None:
    """One line of evidence. A line is one write, so that lines of parallel processes never mix."""
    os.write(1, (json.dumps(values) + "\n").encode())


class Device:
    """What a phase computes on: a GPU, or the CPU where somebody wants to see this script work."""

    def __init__(self, torch: Any, index: int | None) -> None:
        self.torch = torch
        self.name = "cpu" if index is None else f"cuda:{index}"
        if index is not None:
            torch.cuda.set_device(index)
        capability = (9, 0) if index is None else torch.cuda.get_device_capability(index)
        #: GPUs before Ampere have no bf16 tensor cores.
        self.dtype = torch.bfloat16 if capability >= (8, 0) else torch.float16
        self.is_gpu = index is not None

    def free_bytes(self) -> int:
        """Memory that a test may take."""
        free: int = self.torch.cuda.mem_get_info(self.name)[0] if self.is_gpu else 64 * MIB
        return free

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long the device works on it, by its own clock."""
        if not self.is_gpu:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        elapsed: float = start.elapsed_time(end)
        return elapsed / 1000

    def factors(self, seed: int) -> tuple[int, Any, Any]:
        """A size and two square matrices of it: normally distributed numbers, as weights are."""
        size = MATRIX if self.is_gpu else CPU_MATRIX
        while size > 512 and 8 * size * size * 2 > self.free_bytes():
            size //= 2
        self.torch.manual_seed(seed)
        a, b = (self.empty(size).normal_() for _ in range(2))
        return size, a, b

    def empty(self, size: int) -> Any:
        """Room for a square matrix."""
        return self.torch.empty(size, size, dtype=self.dtype, device=self.name)


def rates(device: Device, work: Callable[[], Any], amount: float, seconds: float) -> list[float]:
    """Amount per second of each batch of `work`, after a warm-up; batches take about a twentieth of `seconds`."""
    # The first call loads kernels.
    device.seconds(work)
    once = max(device.seconds(work), 1e-6)
    repeat = max(1, min(1000, int(seconds / 20 / once)))

    def batch() -> None:
        for _ in range(repeat):
            work()

    until = time.monotonic() + seconds / 4
    while time.monotonic() < until:
        device.seconds(batch)
    found: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or not found:
        found.append(amount * repeat / device.seconds(batch))
    return found


def matmul(device: Device, gpu: str, seconds: float) -> None:
    """Dense products of normally distributed matrices."""
    size, a, b = device.factors(1)
    c = device.empty(size)
    found = rates(device, lambda: device.torch.matmul(a, b, out=c), 2 * size**3 / 1e12, seconds)
    say(
        phase="matmul",
        gpu=gpu,
        dtype=str(device.dtype).removeprefix("torch."),
        size=size,
        tflops=round(statistics.median(found), 4),
        best_tflops=round(max(found), 4),
    )


def copy(device: Device, gpu: str, seconds: float) -> None:
    """Copies within the memory: each byte is read and written."""
    size = min(4096 * MIB, device.free_bytes() // 4)
    source, target = (device.torch.empty(size, dtype=device.torch.uint8, device=device.name) for _ in range(2))
    source.fill_(1)
    found = rates(device, lambda: target.copy_(source), 2 * size / 1e9, seconds)
    say(phase="copy", gpu=gpu, bytes=size, gb_per_s=round(statistics.median(found), 1))


def link(device: Device, gpu: str, seconds: float) -> None:
    """Copies between the host's pinned memory and the GPU, one direction at a time."""
    size = min(512 * MIB, device.free_bytes() // 4)
    pinned = device.torch.empty(size, dtype=device.torch.uint8, pin_memory=device.is_gpu)
    pinned.fill_(1)
    own = device.torch.empty(size, dtype=device.torch.uint8, device=device.name)
    to_device = rates(device, lambda: own.copy_(pinned, non_blocking=True), size / 1e9, seconds / 4)
    to_host = rates(device, lambda: pinned.copy_(own, non_blocking=True), size / 1e9, seconds / 4)
    say(
        phase="link",
        gpu=gpu,
        to_device_gb_per_s=round(statistics.median(to_device), 2),
        to_host_gb_per_s=round(statistics.median(to_host), 2),
    )


def peer(torch: Any, gpus: list[str], seconds: float) -> None:
    """Copies from each GPU to the next one."""
    for index, gpu in enumerate(gpus):
        other = (index + 1) % len(gpus)
        device = Device(torch, index)
        size = min(512 * MIB, device.free_bytes() // 4)
        source = torch.empty(size, dtype=torch.uint8, device=device.name).fill_(1)
        target = torch.empty(size, dtype=torch.uint8, device=f"cuda:{other}")
        across = partial(target.copy_, source, non_blocking=True)
        found = rates(device, across, size / 1e9, seconds / 4)
        say(
            phase="peer",
            gpu=gpu,
            to=gpus[other],
            direct=bool(torch.cuda.can_device_access_peer(index, other)),
            gb_per_s=round(statistics.median(found), 2),
        )


def memory(device: Device, gpu: str, seconds: float) -> None:
    """Fill most of the free memory with patterns and read them back; `seconds` is not needed, the size decides."""
    del seconds
    size = min(CHUNK_BYTES, device.free_bytes() // 4)
    count = max(1, int(device.free_bytes() * MEMORY_SHARE) // size - 1)
    chunks = [device.torch.empty(size // 4, dtype=device.torch.int32, device=device.name) for _ in range(count)]
    wrong, first = 0, None
    for pattern in PATTERNS:
        for chunk in chunks:
            chunk.fill_(pattern)
        for number, chunk in enumerate(chunks):
            differs = chunk != pattern
            bad = int(differs.sum())
            if bad and first is None:
                place = int(differs.to(device.torch.int8).argmax())
                got = int(chunk[place])
                first = {"byte": number * size + place * 4, "expected": _bits(pattern, 32), "got": _bits(got, 32)}
            wrong += bad
    say(phase="memory", gpu=gpu, tested_bytes=size * count * len(PATTERNS), wrong=wrong, first=first)


def all_reduce(torch: Any, rank: int, gpus: list[str], seconds: float, meeting: str) -> None:
    """NCCL's bus bandwidth over all GPUs (algorithm bandwidth times 2(n-1)/n, as nccl-tests count it)."""
    device = Device(torch, rank)
    # There is no network where this runs, and none is needed within one host.
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "nccl",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=len(gpus),
        timeout=timedelta(seconds=PATIENCE_S / 2),
    )
    size = min(4096 * MIB, device.free_bytes() // 4)
    values = torch.empty(size // 4, dtype=torch.float32, device=device.name).fill_(rank + 1)
    torch.distributed.all_reduce(values)
    expected = len(gpus) * (len(gpus) + 1) / 2
    wrong = int((values != expected).sum())
    values.fill_(0)
    # Ranks must agree on how often: the time alone would part them.
    once = torch.tensor([device.seconds(lambda: torch.distributed.all_reduce(values))], device=device.name)
    torch.distributed.all_reduce(once, op=torch.distributed.ReduceOp.MAX)
    batches = max(3, min(200, int(seconds / max(float(once[0]), 1e-6))))
    found = [size / device.seconds(lambda: torch.distributed.all_reduce(values)) for _ in range(batches)]
    bus = statistics.median(found) * 2 * (len(gpus) - 1) / len(gpus) / 1e9
    say(phase="all_reduce", gpu=gpus[rank], gpus=len(gpus), bytes=size, bus_gb_per_s=round(bus, 2), wrong=wrong)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def soak(device: Device, gpu: str, seconds: float) -> None:
    """The same product again and again for `seconds`, every one compared with the first, bit by bit."""
    torch = device.torch
    size, a, b = device.factors(7)
    reference = torch.matmul(a, b, out=device.empty(size))
    wrong_samples = _wrong_samples(a, b, reference)
    results = [device.empty(size) for _ in range(min(PRODUCTS, max(1, device.free_bytes() // (4 * size * size))))]

    def batch() -> None:
        for result in results:
            torch.matmul(a, b, out=result)

    began = told = time.monotonic()
    interval = max(1.0, seconds / POINTS)
    found: list[float] = []
    wrong = since = 0
    while (now := time.monotonic()) - began < seconds or not found:
        found.append(2 * size**3 * len(results) / 1e12 / device.seconds(batch))
        for result in results:
            if not torch.equal(result, reference):
                wrong += 1
                if wrong <= DESCRIBED:
                    say(phase="soak", gpu=gpu, at_s=round(now - began, 1), corrupted=_corrupted(result, reference))
        if now - told >= interval:
            say(phase="soak", gpu=gpu, at_s=round(now - began, 1), tflops=round(statistics.median(found[since:]), 4))
            told, since = now, len(found)
    say(
        phase="soak",
        gpu=gpu,
        seconds=round(time.monotonic() - began, 1),
        tflops=round(statistics.median(found), 4),
        compared=len(found) * len(results),
        wrong=wrong,
        wrong_samples=wrong_samples,
        checksum=_checksum(reference),
    )


def host_memory(torch: Any, seconds: float) -> None:
    """The host's own memory, by all its cores: each byte is read and written."""
    # The engine's image may have told torch to use one.
    torch.set_num_threads(os.cpu_count() or 1)
    device = Device(torch, None)
    size = 256 * MIB
    source, target = (torch.empty(size, dtype=torch.uint8).fill_(1) for _ in range(2))
    found = rates(device, lambda: target.copy_(source), 2 * size / 1e9, seconds / 2)
    say(phase="host_memory", gb_per_s=round(statistics.median(found), 1), threads=torch.get_num_threads())


def _wrong_samples(a: Any, b: Any, c: Any) -> int:
    """Elements of a product that float64 on the CPU does not confirm: a GPU that is always wrong agrees with itself."""
    wrong = 0
    rows, columns = a.shape[0], b.shape[1]
    for number in range(SAMPLES):
        row, column = number * 7919 % rows, number * 104729 % columns
        left, right = a[row].cpu().double(), b[:, column].cpu().double()
        true = float(left @ right)
        usual = float(left.norm() * right.norm()) / len(left) ** 0.5
        wrong += abs(float(c[row, column]) - true) > SAMPLE_TOLERANCE * (abs(true) + usual)
    return wrong


def _corrupted(c: Any, reference: Any) -> dict[str, Any]:
    """Where a product differs: how many elements, and the first one with both values as bits."""
    import torch

    got, expected = c.view(torch.int16), reference.view(torch.int16)
    differs = (got != expected).flatten()
    place = int(differs.to(torch.int8).argmax())
    row, column = divmod(place, c.shape[1])
    return {
        "elements": int(differs.sum()),
        "row": row,
        "column": column,
        "expected": _bits(int(expected[row, column]), 16),
        "got": _bits(int(got[row, column]), 16),
    }


def _checksum(c: Any) -> str:
    """A number that the same product has on every GPU of a model."""
    import torch

    return f"{int(c.view(torch.int16).to(torch.int64).sum()) & (1 << 64) - 1:016x}"


def _bits(value: int, width: int) -> str:
    return f"0x{value & (1 << width) - 1:0{width // 4}x}"


def main(arguments: list[str]) -> int:
    """Go through the phases; returns the exit status."""
    options = _options(arguments)
    import torch

    cuda = options.device == "cuda"
    gpus = options.gpus.split(",") if options.gpus else (_listed() if cuda else ["cpu"])
    say(phase="software", torch=torch.__version__, cuda=torch.version.cuda, gpus=gpus)
    if not gpus:
        say(phase="error", text="torch sees no GPU: run where it has one, or with --device cpu to see the script work")
        return 3
    whole = not any(gpu.startswith("MIG-") for gpu in gpus)
    failed = False
    for phase in options.phases.split(","):
        seconds = options.soak_seconds if phase == "soak" else options.seconds
        if phase in ("peer", "all_reduce") and (len(gpus) < 2 or not whole or not cuda):
            say(finished=phase, skipped="needs two whole GPUs")
            continue
        if phase == "link" and not cuda:
            say(finished=phase, skipped="needs a GPU")
            continue
        complete = _round(torch, phase, gpus, seconds, cuda)
        failed = failed or not complete
        say(finished=phase, complete=complete)
    return 1 if failed else 0


def _round(torch: Any, phase: str, gpus: list[str], seconds: float, cuda: bool) -> bool:
    """One phase on every GPU; whether all of them got through it."""
    if phase == "host_memory":
        return _attend([(_fork(lambda: host_memory(torch, seconds), phase, "", None), "")], phase, seconds)
    if phase == "peer":
        work = _fork(lambda: peer(torch, gpus, seconds), phase, gpus[0], ",".join(gpus))
        return _attend([(work, gpus[0])], phase, seconds * len(gpus))
    if phase == "all_reduce":
        with tempfile.TemporaryDirectory() as directory:
            meeting = f"{directory}/meeting"
            started = [
                (_fork(partial(all_reduce, torch, rank, gpus, seconds, meeting), phase, gpu, ",".join(gpus)), gpu)
                for rank, gpu in enumerate(gpus)
            ]
            return _attend(started, phase, seconds)
    each = {"matmul": matmul, "copy": copy, "link": link, "memory": memory, "soak": soak}[phase]

    def start(gpu: str) -> tuple[int, str]:
        work = _fork(lambda: each(Device(torch, 0 if cuda else None), gpu, seconds), phase, gpu, gpu if cuda else None)
        return work, gpu

    if phase == "link":
        answered = [_attend([start(gpu)], phase, seconds) for gpu in gpus]
        return all(answered)
    return _attend([start(gpu) for gpu in gpus], phase, seconds)


def _fork(work: Callable[[], None], phase: str, gpu: str, visible: str | None) -> int:
    """A child that does one piece of work and ends; torch is loaded already, CUDA is not."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        work()
        status = 0
    except BaseException as error:
        text = str(error).strip().partition("\n")[0][:300]
        with suppress(OSError):
            say(phase="error", during=phase, gpu=gpu, text=f"{type(error).__name__}: {text}")
    finally:
        # Not the interpreter's own end: a CUDA context that is broken would hang it.
        os._exit(status)


def _attend(children: list[tuple[int, str]], phase: str, seconds: float) -> bool:
    """Wait for children until their time is over, then end them; whether all went well."""
    until = time.monotonic() + seconds * 2 + PATIENCE_S
    running, good = dict(children), True
    while running and time.monotonic() < until:
        for child, gpu in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                good = good and status == 0
                if os.WIFSIGNALED(status):
                    say(phase="error", during=phase, gpu=gpu, text=f"ended by signal {os.WTERMSIG(status)}")
        time.sleep(0.02)
    for child, gpu in running.items():
        os.kill(child, signal.SIGKILL)
        say(phase="error", during=phase, gpu=gpu, text="did not answer any more and was ended")
    return good and not running


def _listed() -> list[str]:
    """The GPUs that CUDA shows here; asked by a child, since a process that asked cannot fork any more."""

    def found() -> Iterator[str]:
        import torch

        for index in range(torch.cuda.device_count()):
            own = getattr(torch.cuda.get_device_properties(index), "uuid", None)
            yield f"GPU-{own}" if own else str(index)

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.write(writing, ",".join(found()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        names = pipe.read()
    os.waitpid(child, 0)
    return [name for name in names.split(",") if name]


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--gpus", default="", help="UUIDs or indices, by comma; default: all that CUDA shows")
    parser.add_argument("--phases", default=",".join(PHASES), help=f"of {', '.join(PHASES)}; default: all")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement; default: 3")
    parser.add_argument("--soak-seconds", type=float, default=60, help="of the soak; default: 60")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: see the script work")
    options = parser.parse_args(arguments)
    unknown = set(options.phases.split(",")) - set(PHASES)
    if unknown:
        parser.error(f"no such phase: {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
