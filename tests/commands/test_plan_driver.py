"""`ingot plan` says which driver a machine gets, and why."""

import json

import pytest
from click.testing import CliRunner

from ingot.commands.cli import cli
from ingot.compat import Card, DriverRequest, Machine
from ingot.operations.driver.answer import answer
from tests.facts.captures import DIRECTORY

pytestmark = pytest.mark.driver


def decided(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(cli, ["plan", "--model", "qwen2.5-7b-instruct", "--json", *words])
    (driver,) = json.loads(done.stdout)["drivers"].values()
    assert isinstance(driver, dict)
    return driver


@pytest.mark.parametrize(
    ("gpu", "flavour", "fabric"),
    [
        ("rtx4090", "open", "none"),
        ("h100x8", "open", "fabric-manager"),
        ("h100x4", "open", "none"),
        ("b200x8", "open", "fabric-manager+nvlsm"),
        ("a100-80gx8", "open", "fabric-manager"),
    ],
)
def test_gpus_by_name_get_their_driver(gpu: str, flavour: str, fabric: str) -> None:
    driver = decided("--gpu", gpu)
    assert (driver["branch"], driver["flavour"], driver["fabric"]) == (580, flavour, fabric)
    assert driver["assumed"] == "for Debian 13 without Secure Boot and with nothing installed"


def test_a_gpu_that_the_image_has_no_code_for_is_refused_with_its_rule() -> None:
    driver = decided("--gpu", "v100-32g")
    assert driver["rule"] == "architectures of the image"
    assert "expected 7.5 or newer" in str(driver["refused"])


def test_the_decision_is_printed_below_the_plan_with_its_reasons() -> None:
    done = CliRunner().invoke(cli, ["plan", "--model", "qwen2.5-7b-instruct", "--gpu", "l40s"])
    after = done.stdout.partition("driver: newest of branch 580, open modules, from nvidia (for Debian 13")[2]
    assert "\n  open modules: every GPU is Turing or newer (docs.nvidia.com/" in after


def test_recorded_outputs_get_their_driver() -> None:
    recorded = DIRECTORY / "derived__linux-x86_64__nvidia-l40s__595.80__sizing.csv.txt"
    assert decided("--facts", str(recorded))["flavour"] == "open"


def test_a_refusal_is_one_line_with_its_source() -> None:
    (line,) = answer("gpu-01", Machine((Card(0x1DB5), Card(0x2901))), DriverRequest()).lines()
    assert line.startswith("driver: none: ")
    assert "expected GPUs that one driver serves; move one of them to another host" in line
    assert line.endswith(" kernel-modules)")
