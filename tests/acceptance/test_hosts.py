"""Which hosts no acceptance takes the GPUs from."""

from __future__ import annotations

from pathlib import Path

from ingot.acceptance import hosts, runner
from ingot.acceptance.level import LEVELS
from ingot.inventory.fleet import Selected
from tests.settings.values import host


def test_a_host_that_serves_together_with_others_is_refused_before_anybody_connects(tmp_path: Path) -> None:
    item = {"model": "qwen3-32b", "context": 8192, "concurrency": 8, "hosts": ["gpu-01", "gpu-02"]}
    one = host(serve=[item], models_lock=None, secrets_dir=str(tmp_path))
    said: list[tuple[str, ...]] = []
    options = runner.Options(next(iter(LEVELS.values())))
    done = hosts.accept(Selected(tmp_path / "i.py", one.state, (one,)), options, lambda *words: said.append(words))
    assert done.outcomes == ()
    assert str(done.errors[0]).startswith("gpu-01: it serves qwen3-32b together with gpu-02, all of which stop")
    assert [words[2] for words in said] == ["error"]
