"""Values and file names print as they are, whatever brackets they hold."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from ingot.catalog import hardware_from_name, peaks
from ingot.facts.evidence import Recorded
from ingot.onboarding.request import Outcome
from ingot.report import onboarding, plan_terminal, recorded, usage, verification
from ingot.report.board import Board
from ingot.report.console import plain_console, plain_table
from ingot.sizing import DoesNotFit, ModelRequest, Workload, plan_host, vllm
from ingot.verification.summary import HostSummary
from tests.sizing.conftest import model

ROOT = Path(__file__).parents[2]
#: What rich would take for markup, an emoji or an escape.
HOSTILE = st.one_of(
    st.sampled_from(["[/old]", "[bold]", "[red]x[/red]", ":smile:", "\\[x]", "[link=a]b", "[[", "[/]"]),
    st.text(alphabet="[]/:\\ab=#", min_size=1, max_size=12),
)


def a_plan(text: str) -> RenderableType:
    request = ModelRequest(model(name=text), Workload(8192, 8))
    return plan_terminal.render(
        plan_host(hardware_from_name("a10gx4"), [request], engine=vllm("0.32.0"), peaks=peaks())
    )


def a_board(text: str) -> RenderableType:
    board = Board(plain_console(file=io.StringIO()))
    board.say(text, text)
    return board.table()


TABLES: dict[str, Callable[[str], RenderableType]] = {
    "any": lambda text: plain_table(text, title=text),
    "board": a_board,
    "misfit": lambda text: plan_terminal.misfit(DoesNotFit("no", (("weights", text, text),), text, (text,))),
    "onboarding": lambda text: onboarding.summary([Outcome(text, text)], ()),
    "plan": a_plan,
    "report": lambda text: recorded.table([recorded.HostReport(text, Recorded({}, {}, text, text))]),
    "usage": lambda text: usage.table({(text,): usage.Used()}, ["team"]),
    "verification": lambda text: verification.table([HostSummary(text, 1, 0, 1.0, ())]),
}


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None)
@given(text=HOSTILE)
def test_tables_print_values_as_they_are(table: str, text: str) -> None:
    printed = io.StringIO()
    plain_console(file=printed, width=1000).print(TABLES[table](text))
    assert text in printed.getvalue()


@settings(deadline=None)
@given(text=HOSTILE)
def test_lines_print_values_as_they_are(text: str) -> None:
    printed = io.StringIO()
    plain_console(file=printed, width=1000).print(text, soft_wrap=True)
    assert printed.getvalue() == f"{text}\n"


def test_there_is_no_other_way_to_a_terminal() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ingot").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _name(node.func) in (Console.__name__, "from_markup")
    }
    assert makers == {"ingot/report/console.py"}


def _name(node: Any) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
