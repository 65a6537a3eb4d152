"""Host files become hosts, or one sentence each, and a wrong one never stops the others."""

from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.inventory.host_files import ERROR_KEY, load

GOOD = "address: 192.0.2.1\nuser: ubuntu\nserve:\n  - {model: m, context: 1024, concurrency: 2}\n"


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        (root / f"{name.replace('_', '-')}.yaml").write_text(content)
    return root


def error_of(root: Path, name: str) -> str:
    hosts = dict(load(root).group("gpu"))
    return str(hosts[f"@ingot/{name}"].get(ERROR_KEY, ""))


def test_a_host_file_becomes_pyinfra_host_data(tmp_path: Path) -> None:
    write(tmp_path, gpu_01=GOOD + "values: {driver_branch: '595'}\n")
    assert load(tmp_path).group("gpu") == [
        (
            "@ingot/gpu-01",
            {
                "driver_branch": "595",
                "inventory_file": str(tmp_path / "gpu-01.yaml"),
                "ssh_hostname": "192.0.2.1",
                "ssh_user": "ubuntu",
                "ssh_port": 22,
                "ssh_known_hosts_file": str(tmp_path / "known_hosts"),
                "ssh_strict_host_key_checking": "yes",
                "_sudo": True,
                "serve": [{"model": "m", "context": 1024, "concurrency": 2}],
            },
        )
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD + "servee: []\n", "unknown key `servee` (did you mean `serve`?)"),
        ("user: ubuntu\n", "`address` is missing"),
        ("address: [\n", "line 2 is not YAML"),
        ("address: a\naddress: b\n", "line 2 is not YAML (`address` again)"),
        ("address: 2026-13-01\n", "month must be in 1..12"),
        ("", "holds no keys"),
        (GOOD + "port: 99999\n", "`port` is 99999"),
        (GOOD + "values: {driver_branchh: 1}\n", "values.driver_branchh is not a value"),
        ("address: a\nexpect: {gpu: 8 x H100}\n", "did you mean `gpus`?"),
        ("address: a\ngroups: [all]\n", "cannot be a group"),
    ],
)
def test_a_wrong_host_file_is_one_sentence_and_the_others_go_on(tmp_path: Path, content: str, says: str) -> None:
    write(tmp_path, bad=content, good=GOOD)
    sentence = error_of(tmp_path, "bad")
    assert says in sentence
    assert sentence.startswith(f"bad: {tmp_path / 'bad.yaml'}")
    assert "\n" not in sentence
    assert error_of(tmp_path, "good") == ""


def test_every_group_of_a_host_file_is_a_group_of_the_fleet(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD, b="address: b\ngroups: [gpu, staging]\n", bad="")
    groups = {name: [host for host, _ in hosts] for name, hosts in load(tmp_path).groups().items()}
    assert groups == {"gpu": ["@ingot/a", "@ingot/b", "@ingot/bad"], "staging": ["@ingot/b", "@ingot/bad"]}


def test_a_fleet_of_wrong_files_alone_is_still_reported(tmp_path: Path) -> None:
    write(tmp_path, bad="")
    assert [host for host, _ in load(tmp_path).groups()["gpu"]] == ["@ingot/bad"]


def test_a_name_given_twice_is_refused_for_both_files(tmp_path: Path) -> None:
    write(tmp_path, gpu=GOOD)
    (tmp_path / "gpu.yml").write_text(GOOD)
    assert "name the same host; keep one" in error_of(tmp_path, "gpu")


def test_an_address_given_twice_is_refused_for_both_hosts(tmp_path: Path) -> None:
    write(tmp_path, a=GOOD, b=GOOD)
    assert "which" in error_of(tmp_path, "a")
    assert "has the address 192.0.2.1" in error_of(tmp_path, "b")


def test_an_empty_inventory_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(IngotError, match=r"one <host>\.yaml per host"):
        load(tmp_path)


def test_a_missing_inventory_is_named(tmp_path: Path) -> None:
    with pytest.raises(IngotError, match="no such directory"):
        load(tmp_path / "absent")


def test_the_worked_example_of_three_hosts_is_valid() -> None:
    hosts = load(Path("inventories/prod")).group("gpu")
    assert [name for name, _ in hosts] == ["@ingot/gpu-01", "@ingot/gpu-02", "@ingot/gpu-03"]
    assert [data.get(ERROR_KEY) for _, data in hosts] == [None, None, None]
