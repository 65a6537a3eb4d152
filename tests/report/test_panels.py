"""The dashboards' panels as a page of Ingot's own: what it says of figures, and of those that are not there."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingot.facts.figures import Answer, Asked, Figures, MonitorFigures, Series, parse_figures
from ingot.inventory.fleet import selected
from ingot.monitoring.dashboards.catalogue import DASHBOARDS
from ingot.monitoring.dashboards.panel import Query, Shape, Unit
from ingot.report import panels_page
from ingot.report.page import POLICY
from ingot.report.panels import (
    NAMED,
    POINTS,
    Panels,
    boards,
    fleet_panels,
    numbers,
    queries,
    unanswered,
    values,
    window,
)
from ingot.report.scale import scale
from tests.report.browser import Tree, shown
from tests.report.test_alerts import inventory
from tests.report.test_alerts import shown as text_of

pytestmark = pytest.mark.observe

AT = datetime(2026, 11, 29, 12, 0, 7, tzinfo=UTC)
WINDOW = window(AT, 6)


def figures(query: Asked, hosts: int) -> Answer:
    """What a fleet of so many hosts with eight GPUs each says: as much as is kept, and the rest counted."""
    count = min(hosts * 8, query.most)
    times = range(0, int(WINDOW.end_s - WINDOW.begin_s) + 1, WINDOW.step_s) if query.over_time else [21_600]
    series = tuple(
        Series(
            {"host": f"gpu-{number:03}.lab.example", "index": str(number % 8), "model": "qwen3-8b", "status": "200"},
            tuple((at, 0.123456 + number + at / 77_777) for at in times),
        )
        for number in range(count)
    )
    return Answer(series, hosts * 8 - count)


def panels(hosts: int = 2, answers: Sequence[Answer] | None = None) -> Panels:
    found = boards(answers or [figures(one, hosts) for one in queries()])
    return Panels(AT, WINDOW, "inventories/prod.py", (), "watch-1", found, tuple(unanswered("watch-1", found)))


def panel(page: str, title: str) -> str:
    """The first panel of this title."""
    return page.partition(f"<h4>{title}</h4>")[2].partition('<div class="panel">')[0]


def test_every_panel_of_every_dashboard_is_on_the_page() -> None:
    page = panels_page.render(panels())
    tree = Tree(page)
    shapes = [one for board in DASHBOARDS for row in board.rows for one in row.panels]
    assert tree.open == [] and tree.loaded == [] and f'content="{POLICY}"' in page
    for one in shapes:
        assert (f"<dt>{one.title}</dt>" if one.shape is Shape.NUMBER else f"<h4>{one.title}</h4>") in page, one.title
    # A plot has a picture, and a table with the same.
    drawn = sum(one.shape in (Shape.LINES, Shape.BARS) for one in shapes)
    assert page.count('role="img"') == drawn and page.count("<table") == sum(
        one.shape is not Shape.NUMBER for one in shapes
    )
    assert set(tree.links) == {f"#board-{one.name}" for one in DASHBOARDS}
    assert {link.removeprefix("#") for link in tree.links} <= set(tree.ids) and len(tree.ids) == len(set(tree.ids))
    assert all(after - before <= 1 for before, after in zip(tree.levels, tree.levels[1:], strict=False))
    assert all(one or one is None for one in tree.pictures)


def test_two_hundred_hosts_are_less_than_5_mb_and_the_rest_is_counted() -> None:
    page = panels_page.render(panels(200))
    assert len(page.encode()) < 5 << 20
    assert "and 1,592 more series, none of them higher" in panel(page, "GPU use by host")
    assert "none of them lower" in panel(page, "Room for models")
    assert panel(page, "GPU use by host").count("<polyline") == NAMED[Shape.LINES]


def test_what_has_no_figures_is_said_and_not_drawn() -> None:
    page = panels_page.render(panels(answers=[Answer()] * len(queries())))
    assert "<polyline" not in page and "<rect" not in page and ">0" not in page
    assert "<dt>GPUs that answer</dt><dd>no figures</dd>" in page
    assert "<p>No figures.</p>" in panel(page, "Temperature") and "<p>Nothing is listed.</p>" in panel(page, "Alerts")


def test_a_query_without_an_answer_is_said_on_the_page_and_as_one_sentence() -> None:
    found = panels(answers=[Answer(error="query timed out in evaluation")] * len(queries()))
    assert len(found.errors) == 1
    assert re.fullmatch(
        r"watch-1: no answer for the panel Fleet: Hosts seen and \d+ more \(query timed out in evaluation\)\.",
        found.errors[0],
    )
    page = panels_page.render(found)
    assert "<dd>no answer</dd>" in page and "No answer: query timed out in evaluation." in panel(page, "Temperature")
    assert "No figures." not in page


def test_a_line_has_a_gap_where_points_are_missing_and_a_lone_point_is_a_dot() -> None:
    step = WINDOW.step_s
    points = tuple((at * step, 1.0) for at in (0, 1, 2, 10, 20, 21))
    answers = [Answer((Series({"host": "gpu-1", "model": "m"}, points),)) for _ in queries()]
    drawn = panel(panels_page.render(panels(answers=answers)), "Power by host")
    assert (drawn.count("<polyline"), drawn.count("<circle")) == (2, 1)


def test_a_table_has_a_column_for_each_label_and_what_hosts_say_is_text() -> None:
    labels = {"__name__": "ALERTS", "alertname": "<script>", "severity": "critical", "host": "gpu-1", "job": "node"}
    page = panels_page.render(panels(answers=[Answer((Series(labels, ((0, 1.0),)),))] * len(queries())))
    listed = panel(page, "Alerts")
    assert re.findall(r'<th scope="col">(\w+)', listed) == ["severity", "alertname", "host"]
    assert "&lt;script&gt;" in listed and "<script" not in page


def test_a_series_is_called_as_the_panel_says() -> None:
    labels = {"__name__": "x", "job": "node", "host": "gpu-1", "index": "3"}
    assert Query("x", "GPU {{index}} of {{host}}{{nothing}}").called(labels) == "GPU 3 of gpu-1"
    assert Query("x").called(labels) == "gpu-1 3"


def test_hours_are_so_many_points_up_to_now() -> None:
    assert (WINDOW.step_s, WINDOW.end_s - WINDOW.begin_s, WINDOW.end_s) == (180, 6 * 3600, AT.timestamp())
    assert window(AT, 0.25).step_s == 15
    week = window(AT, 168)
    assert (week.end_s - week.begin_s) / week.step_s == POINTS


def test_variables_stand_for_the_hosts_that_are_named_and_for_all_else() -> None:
    assert values((), 15) == {"__rate_interval": "60s", "host": ".*", "model": ".*", "team": ".*"}
    assert values(("gpu-1.lab", "gpu-2"), 180)["host"] == "gpu-1[.]lab|gpu-2"
    assert values((), 180)["__rate_interval"] == "195s"


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        (Unit.SHARE, 0.1234, "12.34 %"),
        (Unit.SECONDS, 0.05, "50 ms"),
        (Unit.SECONDS, 300, "5 min"),
        (Unit.SECONDS, -86_400 * 3, "-3 days"),
        (Unit.BYTES, 3 << 40, "3 TiB"),
        (Unit.NONE, 123_456, "123,456"),
        (Unit.NONE, 0, "0"),
        (Unit.HERTZ, 1.98e9, "1.98 GHz"),
        (Unit.WATTS, 700, "700 W"),
    ],
)
def test_a_figure_is_shown_in_a_unit_that_is_short_to_read(unit: Unit, value: float, words: str) -> None:
    assert scale(unit, value).shown(value) == words


def test_the_terminal_has_the_numbers_of_now() -> None:
    said = text_of(
        numbers(panels(answers=[Answer((Series({}, ((0, AT.timestamp() * 1000 - 7_200_000),)),))] * len(queries())))
    )
    assert re.search(r"Host +Last deploy +2 h ago", said)


def test_an_inventory_without_a_monitor_is_one_sentence(tmp_path: Path) -> None:
    found = fleet_panels(selected(inventory(tmp_path, 'gpu = ["gpu-1"]\n'), ()), AT, 6, everybody=True)
    assert found.boards == () and found.errors == (
        f"{tmp_path}/lab.py: no host is in the group `monitor`, so nobody keeps figures; name one there and deploy, or "
        "look with `ingot status`.",
    )


def test_a_monitor_that_does_not_answer_is_one_sentence_and_no_page(tmp_path: Path) -> None:
    gone = '("@ingot/watch-1", {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "nobody"})'
    path = inventory(tmp_path, f'gpu = ["gpu-1"]\nmonitor = [{gone}]\n')
    command = [str(Path(sys.executable).parent / "ingot"), "panels", str(path), "--html", str(tmp_path / "panels.html")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert said.returncode == 1 and said.stdout == ""
    (sentence,) = [line for line in said.stderr.splitlines() if line.startswith("ingot: ")]
    assert sentence.startswith("ingot: watch-1: no SSH at 127.0.0.1 port 1") and "Traceback" not in said.stderr
    assert not (tmp_path / "panels.html").exists()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The distribution's Prometheus with three hours of two hosts' figures, one of which fell silent in between."""
    directory = tmp_path_factory.mktemp("prometheus")
    end = int(time.time()) // 60 * 60
    lines = []
    for name, kind, value in (("ingot_gpu_power_watts", "gauge", 300), ("vllm:num_requests_running", "gauge", 4)):
        lines.append(f"# TYPE {name} {kind}")
        for host in (1, 2):
            for minute in range(180):
                if host == 1 or not 60 <= minute < 120:
                    at = end - (180 - minute) * 60
                    lines.append(
                        f'{name}{{host="gpu-{host}",index="0",uuid="GPU-{host}",model="m"}} {value * host} {at}'
                    )
    (directory / "figures.txt").write_text("\n".join([*lines, "# EOF", ""]))
    (directory / "prometheus.yml").write_text("{}")
    subprocess.run(
        [
            "promtool",
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(directory / "figures.txt"),
            str(directory / "data"),
        ],
        check=True,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", end
    finally:
        server.terminate()
        server.wait(30)


def test_a_real_prometheus_takes_every_query_and_its_figures_are_on_the_page(prometheus: tuple[str, int]) -> None:
    url, end = prometheus
    at = datetime.fromtimestamp(end - 60, UTC)
    span = window(at, 3)
    command = MonitorFigures().command(span, values((), span.step_s), queries()).replace("http://127.0.0.1:9090", url)
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    found: Figures = parse_figures(said.stdout.splitlines())
    assert [one.error for one in found.answers if one.error] == []

    page = panels_page.render(Panels(at, span, "inventories/prod.py", (), "watch-1", boards(found.answers)))
    power = panel(page, "Power by host")
    assert re.findall(r"</svg>(gpu-\d)</th>", power) == ["gpu-2", "gpu-1"], "the highest first"
    # Silent for an hour, but for the five minutes that Prometheus looks back.
    assert power.count("<polyline") == 3
    assert "<dt>Requests that run</dt><dd>12</dd>" in page
    assert "<dt>Hosts seen</dt><dd>no figures</dd>" in page


def test_the_record_for_programs_has_points_and_names() -> None:
    found = json.loads(json.dumps(panels().to_dict()))
    assert [one["name"] for one in found["dashboards"]] == [one.name for one in DASHBOARDS]
    tokens = found["dashboards"][0]["rows"][1]["panels"][0]
    assert (
        tokens["title"] == "Tokens written" and tokens["more"] == 8 and len(tokens["series"][0]["points"]) == POINTS + 1
    )


def test_a_browser_shows_every_panel_without_a_word_on_its_console(tmp_path: Path) -> None:
    page = tmp_path / "panels.html"
    page.write_text(panels_page.render(panels(200)), encoding="utf-8")
    found = shown(page, tmp_path / "profile")
    assert "CONSOLE" not in found.stderr
    assert found.stdout.count("<h4>") == page.read_text().count("<h4>") > 50
