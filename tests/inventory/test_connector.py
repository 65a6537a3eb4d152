"""A host that cannot be connected to is one sentence of `pyinfra`, and ends nobody else's run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pyinfra.connectors.util import CommandOutput, OutputLine

from ingot.inventory.connector import STUCK, without_noise

INVENTORY = """
_ssh = {{"ssh_hostname": "127.0.0.1", "ssh_port": 9, "ssh_known_hosts_file": {known_hosts!r}}}
gpu = [("@ingot/first", {{**_ssh, {data}}}), ("@ingot/second", _ssh)]
"""


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("'ssh_key': '/nonexistent/key'", "first: its SSH key cannot be used (No such private key file: /nonexistent"),
        ("'ssh_key': {not_a_key!r}", "first: its SSH key cannot be used (Invalid private key file: "),
        ("'inventory_error': 'first: a sentence.'", "first: a sentence."),
        (
            "'engine_port': 0",
            "first: engine_port is 0, expected a TCP port from 1 to 65535; correct it in the inv",
        ),
        (
            "'engine_prt': 1",
            "first: engine_prt is no value that Ingot knows (did you mean 'engine_port'?); corr",
        ),
        ("'ssh_hostname': 'no-such-host.invalid'", "first: the address no-such-host.invalid does not resolve"),
    ],
    ids=["missing-key", "no-key", "host-file", "value", "unknown", "address"],
)
def test_a_host_that_cannot_be_reached_is_one_sentence(tmp_path: Path, data: str, sentence: str) -> None:
    (tmp_path / "known_hosts").touch()
    (tmp_path / "not-a-key").write_text("not a key")
    data = data.format(not_a_key=str(tmp_path / "not-a-key"))
    (tmp_path / "lab.py").write_text(INVENTORY.format(known_hosts=str(tmp_path / "known_hosts"), data=data))
    (tmp_path / "deploy.py").touch()
    done = subprocess.run(
        [Path(sys.executable).parent / "pyinfra", "-y", "lab.py", "deploy.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert sentence in output
    assert "second: no SSH at 127.0.0.1 port 9 (connection refused); check that the host is up" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("printed", "answer"),
    [
        (["Welcome", "unfinished", "@@ingot-answer", "0", "", "@@ingot-answer"], ["0", "", "@@ingot-answer"]),
        (["", "@@ingot-answer"], []),
        (["the login ended before the command began"], ["the login ended before the command began"]),
    ],
)
def test_an_answer_begins_below_what_a_login_prints_by_itself(printed: list[str], answer: list[str]) -> None:
    said = OutputLine("stderr", "a warning")
    output = without_noise(CommandOutput([said, *(OutputLine("stdout", line) for line in printed), said]))
    assert (output.stdout_lines, output.stderr_lines) == (answer, ["a warning"] * 2)


def test_what_waits_for_a_disk_is_named(tmp_path: Path) -> None:
    for number, stat in enumerate(["(df) D 1", "(a (b) c) D 1", "(df) D 1", "(D) S 1", "(sleep D x) R 1"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "stat").write_text(f"{number} {stat} 1 2 3 D 4\n")
    found = subprocess.run(
        ["sh", "-c", STUCK.replace("/proc", str(tmp_path))], capture_output=True, text=True, check=True
    )
    assert found.stdout.split("\n") == ["a (b) c", "df", ""]
