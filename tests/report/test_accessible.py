"""Every page, as axe-core judges it in Chromium, in light and in dark mode: contrast, names, headings, keyboard."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingot.report import acceptance_page, bench_page, fleet_page, panels_page
from ingot.report.alerts import FleetAlerts
from ingot.report.page import document
from ingot.report.plan_page import render_page
from ingot.report.usage import Used
from ingot.report.usage_page import usage_page
from tests.report.browser import violations
from tests.report.fleets import acceptance, fleet, plan
from tests.report.test_alerts import FULL, LOST
from tests.report.test_bench import RECORD
from tests.report.test_panels import panels

pytestmark = pytest.mark.observe


def pages() -> dict[str, str]:
    used = {("sales", "qwen3-8b", f"2026-11-{day:02}"): Used(requests=9 * day, cost=1.5) for day in range(1, 9)}
    made = fleet(2)
    return {
        "fleet": fleet_page.render(
            type(made)(made.inventory, made.at, made.hosts, made.used, "EUR", made.errors, FleetAlerts((LOST, FULL)))
        ),
        "acceptance": acceptance_page.render([acceptance()]),
        "bench": bench_page.render(RECORD, RECORD),
        "panels": panels_page.render(panels(1)),
        "plan": render_page([plan()]),
        "usage": usage_page(used, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC), "EUR"),
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_any_page(tmp_path: Path, dark: bool) -> None:
    found = violations(pages(), tmp_path, dark=dark)
    said = [f"{name}: {one['rule']}: {one['help']}: {one['nodes'][:2]}" for name, of in found.items() for one in of]
    assert not said, "\n".join(said)


def test_axe_finds_what_is_wrong(tmp_path: Path) -> None:
    found = violations(
        {"bad": document("Bad", '<p style="color:#aaa;background:#bbb">dim</p><svg role="img"/>')}, tmp_path, dark=False
    )
    assert {"color-contrast", "svg-img-alt"} <= {one["rule"] for one in found["bad"]}
