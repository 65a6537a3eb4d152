"""Tokens by day and month: counted once, whoever counts them, and whenever one of the processes ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.gateway.filter import ledger as module
from ingot.gateway.filter.allowance import Allowance, seconds_left
from ingot.gateway.filter.budget import Charge
from ingot.gateway.filter.ledger import Ledger
from ingot.gateway.filter.refusals import Refused

pytestmark = pytest.mark.gateway

DAY = module.today()
MONTH = DAY[:7]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OLD_S", 0.0)


def ended(directory: Path, team: str, tokens: int, *, last: str = "") -> None:
    """A process that counts, keeps its counts, and ends."""
    words = "from pathlib import Path; import sys; from ingot.gateway.filter.ledger import *; "
    words += f"one = Ledger(Path({str(directory)!r})); one.add({team!r}, {tokens}, today()); one.save(); {last}"
    subprocess.run([sys.executable, "-c", words], check=True, timeout=180, cwd=Path(__file__).parents[2])


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has counted 7 tokens, and runs on."""
    words = "from pathlib import Path; import sys; from ingot.gateway.filter.ledger import *; "
    words += f"one = Ledger(Path({str(tmp_path)!r})); one.add('sales', 7, today()); one.save(); "
    words += "print('kept', flush=True); sys.stdin.readline(); one.add('sales', 2, today()); one.save(); "
    words += "print('kept', flush=True); sys.stdin.readline()"
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", words], stdin=pipe, stdout=pipe, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout and process.stdout.readline() == "kept\n"
    yield process
    process.kill()
    process.wait()


def test_counts_outlive_the_process(tmp_path: Path) -> None:
    ended(tmp_path, "sales", 5)
    ended(tmp_path, "sales", 6)
    later = Ledger(tmp_path)
    later.add("sales", 1, DAY)
    assert (later.used("sales", DAY), later.used("sales", MONTH), later.used("lab", MONTH)) == (12, 12, 0)
    assert len(list(tmp_path.glob("*.json"))) == 1, "files of processes that ended are taken over"


def test_a_process_that_is_killed_loses_nothing_that_it_kept(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        ended(tmp_path, "sales", 5, last="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert Ledger(tmp_path).used("sales", DAY) == 5


def test_two_processes_count_at_the_same_time(tmp_path: Path, counting: subprocess.Popen[str]) -> None:
    mine = Ledger(tmp_path)
    mine.add("sales", 1, DAY)
    assert mine.used("sales", DAY) == 8
    assert counting.stdin and counting.stdout
    counting.stdin.write("\n")
    counting.stdin.flush()
    assert counting.stdout.readline() == "kept\n"
    assert mine.used("sales", DAY) == 10
    counting.kill()
    counting.wait()
    mine.save()
    assert mine.used("sales", DAY) == 10
    del mine


def test_a_file_whose_counts_were_taken_over_counts_once(tmp_path: Path) -> None:
    """Whoever is killed between the two steps of taking over leaves both files."""
    ended(tmp_path, "sales", 5)
    (old,) = tmp_path.glob("*.json")
    content = old.read_text()
    ended(tmp_path, "sales", 1)
    old.write_text(content)
    (new,) = [path for path in tmp_path.glob("*.json") if path != old]
    assert json.loads(new.read_text())["absorbed"] == [old.name]
    assert Ledger(tmp_path).used("sales", DAY) == 6


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"days": {"2026-11-28": {"sales": "many"}}, "absorbed": []}'])
def test_a_damaged_file_counts_as_none_and_stops_nobody(tmp_path: Path, damage: str) -> None:
    ended(tmp_path, "sales", 5)
    (tmp_path / "1-1.json").write_text(damage)
    assert Ledger(tmp_path).used("sales", DAY) == 5


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    one = Ledger(tmp_path)
    one.add("sales", 9, "2001-01-01")
    one.add("sales", 1, DAY)
    one.save()
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["days"] == {DAY: {"sales": 1}}


def spend(allowance: Allowance, tokens: int) -> None:
    allowance.settle(allowance.charge(tokens, 0.0), tokens, 1.0)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 300))
def test_a_day_lets_in_until_its_tokens_are_used(asked: list[int], limit: int) -> None:
    allowance = Allowance("sales", Ledger(None), per_day=limit, day=lambda: "2026-11-28")
    used = 0
    for tokens in asked:
        if used < limit:
            spend(allowance, tokens)
            used += tokens
        else:
            with pytest.raises(Refused) as refused:
                spend(allowance, tokens)
            assert (refused.value.status, refused.value.code) == (429, "tokens_per_day_exceeded")
            assert refused.value.message.startswith(f"Your team has used its {limit} tokens of this day on this host")
            assert 0 < int(dict(refused.value.headers)["Retry-After"]) <= 86400 + 61


def test_a_month_goes_on_where_a_day_begins_anew() -> None:
    days = ["2026-11-28"]
    allowance = Allowance("sales", Ledger(None), per_day=10, per_month=15, day=lambda: days[-1])
    spend(allowance, 10)
    with pytest.raises(Refused, match="tokens_per_day_exceeded"):
        spend(allowance, 1)
    days.append("2026-11-29")
    spend(allowance, 5)
    with pytest.raises(Refused, match="tokens_per_month_exceeded"):
        spend(allowance, 1)
    days.append("2026-12-01")
    spend(allowance, 1)


@pytest.mark.parametrize(
    ("period", "now", "seconds"),
    [
        ("day", "2026-11-28 00:00:00", 86401),
        ("day", "2026-11-28 23:59:59", 2),
        ("day", "2026-11-28 23:59:59.5", 1),
        ("day", "2026-12-31 22:00:00", 7201),
        ("month", "2026-11-28 00:00:00", 3 * 86400 + 1),
        ("month", "2026-12-01 00:00:00", 31 * 86400 + 1),
        ("month", "2026-12-31 23:59:58", 3),
        ("month", "2028-02-28 12:00:00", 129601),
    ],
)
def test_who_used_it_all_is_told_to_come_when_the_day_or_the_month_is_over(period: str, now: str, seconds: int) -> None:
    assert seconds_left(period, datetime.fromisoformat(f"{now}+00:00")) == seconds


def test_teams_do_not_share_their_tokens() -> None:
    ledger = Ledger(None)
    spend(Allowance("sales", ledger, per_day=10), 10)
    spend(Allowance("lab", ledger, per_day=10), 1)


def test_a_team_is_warned_from_four_fifths_on() -> None:
    allowance = Allowance("sales", Ledger(None), per_day=100, per_month=1000)
    spend(allowance, 79)
    assert [share.warns for share in allowance.shares()] == [False, False]
    spend(allowance, 1)
    assert [(share.warns, str(share)) for share in allowance.shares()] == [
        (True, "80 % of 100 tokens per day are used"),
        (False, "8 % of 1000 tokens per month are used"),
    ]


def test_a_minute_is_limited_beside_a_day() -> None:
    allowance = Allowance("sales", Ledger(None), per_minute=10, per_day=100)
    allowance.charge(10, 0.0)
    with pytest.raises(Refused, match="tokens_per_minute_exceeded"):
        allowance.charge(1, 1.0)
    allowance.settle(Charge(0.0, 10), 10, 1.0)
    assert allowance.shares()[0].used == 10
