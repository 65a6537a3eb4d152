"""What the filter costs: processor time per streamed chunk, and the time that it adds to a short answer.

    .venv/bin/python benchmarks/filter.py [--python /path/to/python-with-uvloop] [--streams 16] [--chunks 400]

Runs the filter as its container does, between a stand-in engine and callers on unix sockets, all on this machine. Every
chunk is a write of its own, as engines send them. Processor time is the filter process's own, from /proc.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.gateway.filter_process import Call, Filter, ask, engine, piece, team

WORDS = ("The", " weather", " in", "北京", "今天", "，", " 24", " degrees", ".", " call", " 1380", "0138000", " or")
ASK = {"model": "m", "messages": [{"role": "user", "content": "How is the weather?"}], "max_tokens": 1}
ANSWER = {"choices": [{"index": 0, "message": {"content": "Fine, 24 degrees."}}], "usage": {"total_tokens": 20}}
#: The target of issue 5.
MOST_US_PER_CHUNK = 50


@dataclass(frozen=True)
class Cost:
    """One kind of team: processor time per chunk, and a short answer's time at the median and the 99th percentile."""

    us_per_chunk: float
    p50_us: float
    p99_us: float


def processor_s(pid: int) -> float:
    """Processor time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def streamed(socket: Path, of: str, streams: int) -> None:
    """Read so many streams to their ends, all at once."""

    async def one() -> None:
        await (await ask(socket, {**ASK, "stream": True}, of=of)).rest()

    await asyncio.gather(*(one() for _ in range(streams)))


async def short(socket: Path, of: str, times: int) -> list[float]:
    """Seconds of short answers, one after the other."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        await (await ask(socket, ASK, of=of)).rest()
        found.append(time.perf_counter() - started)
    return found


def answering(chunks: int) -> Callable[[Call], Awaitable[None]]:
    async def answer(call: Call) -> None:
        if not json.loads(call.body).get("stream"):
            await call.whole(ANSWER)
            return
        call.begin_stream()
        for number in range(chunks):
            await call.event(piece(WORDS[number % len(WORDS)]))
            await asyncio.sleep(0.002)
        await call.end_stream()

    return answer


async def measure(one: Filter, pid: int, streams: int, chunks: int) -> dict[str, Cost]:
    """Kind of team -> its cost; "direct" is the stand-in engine without a filter."""
    costs = {}
    async with engine(one.engine, answering(chunks)):
        for of in ("direct", "metered", "redacted"):
            socket = one.engine if of == "direct" else one.socket
            await short(socket, of, 100)
            times = sorted(await short(socket, of, 1000))
            before = processor_s(pid)
            await streamed(socket, of, streams)
            used = (processor_s(pid) - before) / (streams * chunks)
            costs[of] = Cost(used * 1e6, statistics.median(times) * 1e6, times[int(len(times) * 0.99)] * 1e6)
    return costs


def run(python: str = sys.executable, streams: int = 16, chunks: int = 400) -> dict[str, Cost]:
    """Start a filter, measure it, and end it."""
    with tempfile.TemporaryDirectory() as directory:
        one = Filter(Path(directory))
        process = one.start(
            team("redacted", redact=("all",)), team("metered", tokens_per_minute=10**9), python=python, isolated=False
        )
        try:
            return asyncio.run(measure(one, process.pid, streams, chunks))
        finally:
            process.kill()
            process.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--streams", type=int, default=16)
    arguments.add_argument("--chunks", type=int, default=400)
    costs = run(**vars(arguments.parse_args()))
    direct = costs.pop("direct")
    print("| team | processor time per chunk | short answer, added p50 | added p99 |\n| --- | --- | --- | --- |")
    for of, cost in costs.items():
        added = cost.p50_us - direct.p50_us, cost.p99_us - direct.p99_us
        print(f"| {of} | {cost.us_per_chunk:.0f} µs | {added[0]:.0f} µs | {added[1]:.0f} µs |")
    if costs["redacted"].us_per_chunk > MOST_US_PER_CHUNK:
        sys.exit(f"redaction costs more than {MOST_US_PER_CHUNK} µs per chunk")


if __name__ == "__main__":
    main()
