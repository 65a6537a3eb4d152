"""The page of a fleet: what is on it, that it needs nothing from elsewhere, and how it does in a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.report import fleet_page
from ingot.report.fleet import deploys, planned
from ingot.report.page import POLICY
from ingot.report.recorded import HostReport
from tests.report.browser import Tree, shown
from tests.report.fleets import fleet

pytestmark = pytest.mark.observe


def test_two_hundred_hosts_are_a_page_of_less_than_5_mb() -> None:
    text = fleet_page.render(fleet(200))
    assert len(text.encode()) < 5 << 20
    assert len(set(Tree(text).ids)) == 2 * (200 + 2)


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = Tree(fleet_page.render(fleet(3)))
    assert page.open == [] and page.loaded == []
    assert f'content="{POLICY}"' in fleet_page.render(fleet(1))


def test_every_link_leads_to_a_section_and_no_name_is_there_twice() -> None:
    page = Tree(fleet_page.render(fleet(5)))
    assert len(page.ids) == len(set(page.ids))
    assert page.links == [f"#host-gpu-{number:03}" for number in range(5)]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_headings_go_down_by_one_and_pictures_say_what_they_show() -> None:
    page = Tree(fleet_page.render(fleet(3)))
    assert page.levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    assert page.pictures and all(page.pictures)


def test_a_row_says_how_each_host_is() -> None:
    text = fleet_page.render(fleet(4))
    rows = re.findall(r'<tr><th scope="row"><a .*?</tr>', text)
    cells = [re.sub(r"<.*?>", " ", one).split() for one in rows]
    assert len(rows) == 4
    assert "answer" in cells[0] and "none" in cells[0]
    assert {"580.95.05", "toolkit", "1.20.0-1", "fail", "20", "changes", "done"} <= set(cells[1])
    assert " ".join(cells[2]).count("not looked at") == 1 and "8 x NVIDIA H100" in " ".join(cells[2])
    assert "8 x qwen3-8b none on 1 GPU" in " ".join(cells[2])
    assert "4 hosts, 24 replicas on 24 GPUs; 1 did not answer; 3 failed their acceptance; 1 drifted" in text


def test_a_section_has_plan_benchmarks_acceptance_drift_and_deploys() -> None:
    text = fleet_page.render(fleet(2))
    section = text.partition('<section id="host-gpu-001"')[2]
    assert section.count('class="bar"') == 1 and "8 x " in section, "alike replicas are shown once"
    assert "5,123 tokens/s with 16 at once" in section
    assert "GPU 6: matmul 560 TFLOP/s" in section and section.count("<svg") == 2
    assert "Gateway: write file 0" in section and "and 8 more" in section
    assert section.count("0123456789") == 3 and "3 operations changed something" in section
    assert "gpu-000: no SSH at 10.0.0.1 port 22." in text and "gpu-009: its logs cannot be read." in text


def test_teams_are_sorted_by_what_they_cost() -> None:
    text = fleet_page.render(fleet(1))
    assert re.findall(r'<th scope="row">(team-\d+)', text)[:2] == ["team-11", "team-10"] and "cost, EUR" in text
    assert "No request was noted." in fleet_page.render(replace(fleet(1), used={}))


def test_what_hosts_say_is_text() -> None:
    made = fleet(2)
    strange = replace(made.hosts[1], report=HostReport("<b>x", error="<script>alert(1)</script>"))
    text = fleet_page.render(replace(made, hosts=[strange], inventory="<i>"))
    assert "<script" not in text and "<b>x" not in text and "<i>," not in text
    odd = {**(made.hosts[1].acceptance or {}), "measured": {"of": "another version"}}
    assert "Acceptance" in fleet_page.render(replace(made, hosts=[replace(made.hosts[1], acceptance=odd)]))


def test_what_this_machine_keeps_of_deploys_is_read_newest_first(tmp_path: Path) -> None:
    def lines(number: int, purpose: str) -> list[str]:
        run = {"id": f"{number:08x}", "user": "ops", "machine": "desk", "pid": 1, "purpose": purpose}
        return [json.dumps({"event": "begin", "run": {**run, "started": f"2026-11-{number:02}T00:00:00+00:00"}})]

    path = tmp_path / "gpu-01.jsonl"
    path.write_text("\n".join(line for n in range(1, 9) for line in lines(n, "deploy" if n % 2 else "bench")) + "\n{")
    assert [one.run.started[8:10] for one in deploys(path)] == ["07", "05", "03"]
    assert deploys(tmp_path / "none") == deploys(None) == []


def test_a_plan_of_another_version_is_none() -> None:
    report = fleet(2).hosts[1].report
    assert report.recorded and planned(report)
    assert (
        planned(replace(report, recorded=replace(report.recorded, files={"plan.json": {"plan": {"schema": 99}}})))
        is None
    )
    assert planned(replace(report, recorded=None, error="gone")) is None


def test_a_browser_shows_every_host_without_a_word_on_its_console(tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    page.write_text(fleet_page.render(fleet(200)), encoding="utf-8")
    found = shown(page, tmp_path / "profile")
    assert found.stdout.count('<th scope="row"><a ') == 200
    assert "CONSOLE" not in found.stderr


def test_a_browser_prints_it(tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    page.write_text(fleet_page.render(fleet(3)), encoding="utf-8")
    shown(page, tmp_path / "profile", f"--print-to-pdf={tmp_path}/fleet.pdf")
    assert (tmp_path / "fleet.pdf").read_bytes().startswith(b"%PDF")
