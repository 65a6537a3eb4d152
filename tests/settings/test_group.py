"""What does not go with several hosts that serve one replica is refused in one sentence each."""

import pytest

from ingot.settings import WrongValues, of_host
from tests.settings.values import host, settings

ONE = {"model": "qwen3-32b", "context": 8192, "concurrency": 8}
HOSTS = ["gpu-01", "gpu-02"]


def sentences(*serve: dict[str, object]) -> str:
    with pytest.raises(WrongValues) as wrong:
        of_host(host(serve=list(serve), models_lock=None))
    return str(wrong.value)


def test_hosts_are_read_and_the_head_alone_answers() -> None:
    made = settings(serve=[{**ONE, "hosts": HOSTS, "interface": "eth1"}], models_lock=None)
    assert made.serve[0].hosts == ("gpu-01", "gpu-02")
    assert made.serve[0].request(made.models).hosts == ("gpu-01", "gpu-02")
    assert (made.answers_at("gpu-01"), made.answers_at("gpu-02")) == (True, False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hosts": ["gpu-01"]}, "two hosts or more"),
        ({"hosts": ["gpu-01", "gpu-01"]}, "each host once"),
        ({"hosts": HOSTS, "engine": "auto"}, "'vllm', the only engine that serves over several hosts"),
        ({"hosts": HOSTS, "replicas": 2}, "nothing there where several hosts serve one replica"),
        ({"hosts": HOSTS, "share": True}, "nothing there where several hosts serve one replica"),
        ({"hosts": HOSTS, "speculation": {"method": "ngram", "tokens": 3, "lookup": 4}}, "nothing there where several"),
        ({"hosts": HOSTS, "interface": "not one"}, "the name of a network interface"),
        ({"interface": "eth1"}, "it with `hosts` alone"),
    ],
)
def test_what_does_not_go_with_them_is_named(given: dict[str, object], words: str) -> None:
    said = sentences({**ONE, **given})
    assert words in said
    assert said.startswith("gpu-01: serve[0].")
    assert len(said.splitlines()) == 1


def test_a_group_takes_all_gpus_of_its_hosts() -> None:
    assert "the only model of its hosts" in sentences({**ONE, "hosts": HOSTS}, {**ONE, "model": "qwen3-8b"})


def test_only_models_that_generate_are_served_so() -> None:
    assert "a model that generates" in sentences({**ONE, "model": "bge-m3", "hosts": HOSTS})
