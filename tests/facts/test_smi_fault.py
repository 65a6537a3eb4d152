"""nvidia-smi's messages and exit codes become one kind of fault each."""

import pytest

from ingot.facts.smi_fault import Fault, GpuFault, from_exit, from_message
from tests.facts.captures import capture

pytestmark = pytest.mark.driver


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("err__driver-not-loaded.txt", Fault.NOT_LOADED),
        ("err__gpu-lost-handle.txt", Fault.LOST),
        ("err__lib-mismatch-new.txt", Fault.MISMATCH),
        ("err__lib-mismatch-old.txt", Fault.MISMATCH),
        ("err__no-devices.txt", Fault.NO_DEVICES),
        ("err__nvml-insufficient-permissions.txt", Fault.NO_PERMISSION),
        ("err__nvml-unknown-in-container.txt", Fault.UNKNOWN_ERROR),
        ("err__unknown-error-handle.txt", Fault.UNKNOWN_ERROR),
    ],
)
@pytest.mark.parametrize("status", [0, 9, 255])
def test_a_message_says_more_than_its_exit_code(name: str, kind: Fault, status: int) -> None:
    fault = from_exit(status, capture(name))
    assert fault is not None
    assert fault.kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (4, Fault.NO_PERMISSION),
        (6, Fault.NO_DEVICES),
        (9, Fault.NOT_LOADED),
        (12, Fault.LIBRARY),
        (14, Fault.INFOROM),
        (15, Fault.LOST),
        (18, Fault.MISMATCH),
        (124, Fault.HANGS),
        (127, Fault.NOT_INSTALLED),
        (255, Fault.OTHER),
        (77, Fault.OTHER),
    ],
)
def test_an_exit_code_without_a_known_message_is_enough(status: int, kind: Fault) -> None:
    fault = from_exit(status, "words of a driver to come")
    assert fault is not None
    assert fault.kind is kind
    assert "words of a driver to come" in fault.detail


def test_success_is_no_fault() -> None:
    assert from_exit(0, "index, name\n0, Tesla T4") is None
    assert from_message("all is well") is None


@pytest.mark.parametrize("kind", list(Fault))
def test_every_fault_is_one_sentence_with_found_expected_and_next(kind: Fault) -> None:
    sentence = GpuFault(kind, "the driver's words").sentence("gpu-01")
    assert sentence.startswith("gpu-01: ")
    assert ", expected " in sentence and "; " in sentence
    assert "the driver's words" in sentence and "\n" not in sentence
