"""`ingot report` shows what each host recorded: versions, decisions, reasons."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingot.commands.cli import cli
from ingot.errors import IngotError
from ingot.facts.evidence import Evidence, Recorded
from ingot.facts.models import Damage
from ingot.inventory import fleet
from ingot.report import recorded
from ingot.report.recorded import HostReport

pytestmark = pytest.mark.driver

DRIVER = {
    "driver": {"version": "580.173.02", "flavour": "open", "kernel": "6.12.57+deb13-amd64"},
    "decided": {"branch": 580, "version": None, "flavour": "open", "source": "nvidia", "fabric": "fabric-manager"},
    "packages": {"nvidia-driver-cuda": "580.173.02-1"},
    "reasons": [{"text": "open modules: every GPU is Turing or newer", "source": "kernel-modules"}],
    "warnings": [],
}
PLAN = {
    "schema": 1,
    "plan": {
        "engine": "vLLM 0.33.0",
        "replicas": [{"model": "qwen3-8b", "variant": "bf16", "gpu_uuids": ["GPU-0", "GPU-1"]}],
    },
}
MEASURED = {"schema": 1, "measured": [{}, {}]}


def look(**files: Any) -> list[str]:
    """What a host answers to the fact."""
    lines = ["@@ingot-begin files"]
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        lines.append(f"{name}.json 1790000000 {base64.b64encode(text.encode()).decode()}")
    return [
        *lines,
        "@@ingot-end files 0",
        "@@ingot-begin toolkit",
        "1.20.0-1",
        "@@ingot-end toolkit 0",
        "@@ingot-begin docker",
        "@@ingot-end docker 1",
    ]


def host(**files: Any) -> HostReport:
    return HostReport("gpu-01", Evidence().process(look(**files)))


def test_a_host_shows_its_versions_and_decisions() -> None:
    report = host(driver=DRIVER, plan=PLAN, measured=MEASURED)
    assert report.cells() == (
        "gpu-01",
        "580.173.02 open\non 6.12.57+deb13-amd64\nas decided: 580 from nvidia\nfabric-manager",
        "toolkit 1.20.0-1",
        "vLLM 0.33.0\nqwen3-8b bf16 on 2 GPUs",
        "2 starts, last 2026-09-21",
    )
    assert list(report.reasons()) == ["open modules: every GPU is Turing or newer (kernel-modules)"]
    shown = report.to_dict()
    assert (shown["driver"], shown["plan"], shown["measured"]) == (DRIVER, PLAN, MEASURED)
    assert shown["recorded_at"]["driver"] == "2026-09-21T14:13:20+00:00"


def test_weights_that_have_rotted_are_said_beside_what_is_served() -> None:
    mark = Damage("/srv/models/a/bf16/0/model.safetensors", "2026-11-29T01:00:00Z", "has sha256 0, expected 1")
    report = HostReport("gpu-01", Recorded(damage=(mark,)))
    assert report.cells()[3] == f"damaged: {mark.path} {mark.why}, found {mark.since}; deploy again"
    assert report.to_dict()["damaged"] == [{"path": mark.path, "since": mark.since, "why": mark.why}]


def test_a_host_that_was_never_deployed_shows_dashes() -> None:
    assert host().cells() == ("gpu-01", "-", "toolkit 1.20.0-1", "-", "-")


@pytest.mark.parametrize(
    "files",
    [
        # Power loss, and what another version of Ingot may have written.
        {"driver": '{"driver":', "plan": "[]", "measured": ""},
        {"driver": {"driver": None, "decided": 1}, "plan": {"plan": {"replicas": [1]}}, "measured": {"measured": 3}},
    ],
)
def test_files_that_cannot_be_read_count_as_absent(files: dict[str, Any]) -> None:
    assert host(**files).cells() == ("gpu-01", "-", "toolkit 1.20.0-1", "-", "-")


@pytest.mark.parametrize("output", [[], ["@@ingot-begin files", "driver.json"], ["garbage"]])
def test_an_answer_that_is_cut_off_is_no_evidence(output: list[str]) -> None:
    assert Evidence().process(output) == Recorded()


INVENTORY = (
    "gpu = [(f'gpu-0{n}', {'ssh_hostname': '127.0.0.1', 'ssh_port': 1, 'ssh_user': 'ops'}) for n in (2, 1, 3)]\n"
)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """An inventory of three hosts that do not answer."""
    address = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "ops"}
    (tmp_path / "three.py").write_text(f"gpu = {[(f'gpu-0{n}', address) for n in (2, 1, 3)]!r}\n")
    return tmp_path / "three.py"


def test_one_silent_host_leaves_the_others_and_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "selected", lambda inventory, names: None)
    silent = HostReport("gpu-02", error="gpu-02: no SSH answer, expected one; check its network.")
    monkeypatch.setattr(recorded, "recorded", lambda chosen: [host(driver=DRIVER), silent])
    done = CliRunner().invoke(cli, ["report", "--json"])
    assert done.exit_code == 1
    shown = json.loads(done.stdout)
    assert ([one["host"] for one in shown["hosts"]], shown["errors"]) == (["gpu-01"], [silent.error])
    assert done.stderr == f"ingot: {silent.error}\n"


def test_the_table_has_a_row_for_each_host_and_the_reasons_of_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "selected", lambda inventory, names: None)
    monkeypatch.setattr(recorded, "recorded", lambda chosen: [host(driver=DRIVER, plan=PLAN)])
    monkeypatch.setenv("COLUMNS", "200")
    table = CliRunner().invoke(cli, ["report"]).stdout
    assert "580.173.02 open" in table
    assert "every GPU is Turing" not in table
    assert "gpu-01: open modules: every GPU is Turing or newer" in CliRunner().invoke(cli, ["report", "gpu-01"]).stdout


def test_an_inventory_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(IngotError, match="no such inventory file"):
        CliRunner().invoke(cli, ["report", "no/such.py"], catch_exceptions=False)


def test_hosts_that_do_not_answer_are_said_in_the_order_of_their_names(three: Path) -> None:
    found = recorded.recorded(fleet.selected(three, []))
    assert [(one.host, one.recorded) for one in found] == [("gpu-01", None), ("gpu-02", None), ("gpu-03", None)]
    assert all((one.error or "").startswith(f"{one.host}: ") for one in found)
