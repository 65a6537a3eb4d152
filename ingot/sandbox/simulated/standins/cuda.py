"""Simulated: CUDA under torch. Products and copies really happen, on the CPU and a little of each; the clock of the
"GPU" goes on by what the profile's figures say that the whole would take.

The burn-in alone sees it (`python/sitecustomize.py`): the engine of test hosts is a CPU build, and stays one.
"""

import os
from types import SimpleNamespace
from typing import Any

from . import machine

#: No side of a simulated matrix, and no other simulated tensor, holds more numbers than this.
SIDE, LENGTH = 64, 4096
MIB = 1 << 20


class Clock:
    """What each visible GPU has spent so far, in seconds, and which one is current."""

    def __init__(self) -> None:
        self.spent: dict[int, float] = {}
        self.current = 0
        self.products = 0

    def spend(self, index: int, seconds: float) -> None:
        self.spent[index] = self.spent.get(index, 0.0) + seconds


CLOCK = Clock()
_OPENED: dict[str, int] = {}


def visible() -> list[dict[str, Any]]:
    """The GPUs that a process may use, in CUDA's order."""
    present = machine.visible_gpus()
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return present
    by_name = {name: gpu for index, gpu in enumerate(present) for name in (str(index), gpu["uuid"])}
    return [by_name[name] for name in asked.split(",") if name in by_name]


def figures(index: int) -> dict[str, Any]:
    """What the profile says of a GPU's speed; an open node is what the kernel counts as use."""
    gpu = visible()[index]
    if gpu["uuid"] not in _OPENED:
        minor = [one["uuid"] for one in machine.hardware()["gpus"]].index(gpu["uuid"])
        _OPENED[gpu["uuid"]] = os.open(machine.ROOT / f"dev/nvidia{minor}", os.O_RDONLY)
    loaded: dict[str, Any] = gpu["burn_in"]
    return loaded


class Event:
    """A point in a GPU's time."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = CLOCK.spent.get(CLOCK.current, 0.0)

    def synchronize(self) -> None:
        """Nothing is ever pending."""

    def elapsed_time(self, end: "Event") -> float:
        return (end.at - self.at) * 1000


def install() -> None:
    """Give this process a torch that sees the host's simulated GPUs."""
    import torch
    import torch.distributed
    from torch.overrides import TorchFunctionMode

    class Simulated(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            place = _place(kwargs)
            if place is None:
                result = func(*args, **kwargs)
                _account(func.__name__, args, kwargs)
                return result
            if func is not torch.empty:
                return func(*args, **kwargs)
            full = tuple(args)
            made = func(*(min(side, SIDE if len(full) > 1 else LENGTH) for side in full), **kwargs)
            made.simulated_place, made.simulated_shape = place, full
            return made

    cuda: Any = torch.cuda
    torch.version.cuda = "13.0"
    cuda.is_available = lambda: bool(visible())
    cuda.device_count = lambda: len(visible())
    cuda.set_device = lambda index: setattr(CLOCK, "current", int(index))
    cuda.current_device = lambda: CLOCK.current
    cuda.Event = Event
    cuda.get_device_capability = lambda index=0: tuple(
        int(x) for x in visible()[index]["query"]["compute_cap"].split(".")
    )
    cuda.mem_get_info = lambda name="cuda:0": _memory(_index(name))
    cuda.get_device_properties = lambda index: SimpleNamespace(
        name=visible()[index]["query"]["name"], uuid=visible()[index]["uuid"].removeprefix("GPU-")
    )
    cuda.can_device_access_peer = lambda one, other: figures(one)["direct"]
    _install_collectives(torch.distributed)
    Simulated().__enter__()


def _install_collectives(distributed: Any) -> None:
    start, reduce = distributed.init_process_group, distributed.all_reduce

    def init_process_group(backend: str, **rest: Any) -> None:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        start("gloo", **rest)

    def all_reduce(tensor: Any, **rest: Any) -> None:
        reduce(tensor, **rest)
        ranks = distributed.get_world_size()
        moved = _bytes(tensor) * 2 * (ranks - 1) / ranks
        CLOCK.spend(CLOCK.current, moved / 1e9 / figures(CLOCK.current)["all_reduce_bus_gb_per_s"])

    distributed.init_process_group, distributed.all_reduce = init_process_group, all_reduce


def _place(kwargs: dict[str, Any]) -> str | None:
    """Where a new tensor is wished: "0" for cuda:0, "host" for pinned memory; the wish is taken out."""
    device = str(kwargs.get("device") or "")
    if device.startswith("cuda"):
        kwargs["device"] = "cpu"
        return str(_index(device))
    return "host" if kwargs.pop("pin_memory", False) else None


def _index(device: Any) -> int:
    return int(str(device).partition(":")[2] or CLOCK.current)


def _memory(index: int) -> tuple[int, int]:
    query = visible()[index]["query"]
    free, total = (int(query[name].removesuffix(" MiB")) * MIB for name in ("memory.free", "memory.total"))
    return free, total


def _account(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Let the GPU's time go on for what took part in it whole."""
    if name == "matmul" and hasattr(kwargs.get("out"), "simulated_shape"):
        out = kwargs["out"]
        index = int(out.simulated_place)
        rows, columns = out.simulated_shape
        own = figures(index)
        CLOCK.spend(index, 2 * rows * columns * args[0].simulated_shape[1] / 1e12 / own["matmul_tflops"])
        CLOCK.products += 1
        if CLOCK.products == own["corrupt_product"]:
            out.view(_int16())[3, 5] ^= 0x40
    elif name == "copy_" and all(hasattr(one, "simulated_place") for one in args[:2]):
        target, source = args[:2]
        _spend_copy(target.simulated_place, source.simulated_place, _bytes(source))


def _spend_copy(target: str, source: str, size: int) -> None:
    if target == source:
        index, rate, moved = int(source), "copy_gb_per_s", 2 * size
    elif "host" in (target, source):
        index = int(target if source == "host" else source)
        rate, moved = ("to_device_gb_per_s" if source == "host" else "to_host_gb_per_s"), size
    else:
        index, rate, moved = int(source), "peer_gb_per_s", size
    CLOCK.spend(index, moved / 1e9 / figures(index)[rate])


def _bytes(tensor: Any) -> int:
    shape = getattr(tensor, "simulated_shape", tuple(tensor.shape))
    size: int = tensor.element_size()
    for side in shape:
        size *= side
    return size


def _int16() -> Any:
    import torch

    return torch.int16
