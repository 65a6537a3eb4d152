"""The rate of a disk is what dd says of a file that is large enough; anything else is not known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.facts.disk_rate import DiskRate, parse_rate

pytestmark = pytest.mark.rollout


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        (["64+0 records in", "1073741824 bytes (1.1 GB, 1.0 GiB) copied, 0.512 s, 2.1 GB/s"], 2097152000),
        (["^C", "83886080 bytes (84 MB, 80 MiB) copied, 5.00 s, 16.8 MB/s"], 16777216),
        (["1048576 bytes (1.0 MB, 1.0 MiB) copied, 0.001 s, 1.0 GB/s"], None),
        (["dd: failed to open '/m/a.safetensors': Invalid argument"], None),
        ([], None),
    ],
    ids=["whole", "cut off", "too little", "no direct reads", "no file"],
)
def test_what_dd_says_is_a_rate(said: list[str], rate: int | None) -> None:
    assert parse_rate(said) == rate


def test_small_files_are_not_measured(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1024)
    done = subprocess.run(["sh", "-c", DiskRate().command(str(tmp_path))], check=True, capture_output=True, text=True)
    assert (done.stdout, DiskRate().process(done.stdout.splitlines())) == ("", None)
