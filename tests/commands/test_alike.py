"""Commands that work on hosts are alike: how hosts and inventories are named, and what is said when that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from ingot.commands.cli import cli

pytestmark = pytest.mark.onboarding

ROOT = Path(__file__).parents[2]
#: Every command that works on hosts of an inventory, with what it needs besides their names to go as far as the host.
ON_HOSTS = {
    "accept": (),
    "alerts": (),
    "bench": (),
    "bundle create": ("--to", "bundle"),
    "bundle push": ("--from", "bundle"),
    "bundle serve": ("--from", "bundle"),
    "decommission": ("--yes",),
    "drift": (),
    "history": (),
    "lock break": ("--yes",),
    "lock show": (),
    "models check": ("--offline",),
    "models lock": ("--dry",),
    "models prune": ("--dry",),
    "panels": (),
    "plan": (),
    "probe": (),
    "report": (),
    "rollback": (),
    "rollout": ("--plan-only",),
    "status": (),
    "usage": (),
    "verify": (),
}
#: Of these, the ones that connect to the host; the others read its values alone, or a bundle before, or ask the host
#: that watches it.
CONNECTING = {
    command: needed
    for command, needed in ON_HOSTS.items()
    if command not in ("alerts", "bundle push", "bundle serve", "models check", "models lock", "panels")
}
#: Runs the command line of each argument list, in one process, since loading pyinfra is what takes the time.
RUN = """
import contextlib, io, json, sys
from ingot.commands.cli import main

said = []
for words in json.load(sys.stdin):
    sys.argv = ["ingot", *words]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    said.append([status, out.getvalue(), err.getvalue()])
json.dump(said, sys.stdout)
"""


@dataclass(frozen=True)
class Said:
    """What one command line came to."""

    status: int
    out: str
    err: str


def run(directory: Path, *lines: tuple[str, ...]) -> list[Said]:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=directory,
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Said(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose production fleet has one host, which does not answer, and another inventory without hosts."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("deploy.py", "group_data", "pyproject.toml", "roles"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "tests" / "hosts", root / "tests" / "hosts")
    (root / "inventories" / "prod").mkdir(parents=True)
    shutil.copy(ROOT / "inventories" / "prod.py", root / "inventories")
    serve = "serve: [{model: qwen2.5-7b-instruct, context: 8192, concurrency: 4}]"
    (root / "inventories" / "prod" / "gone.yaml").write_text(f"address: 127.0.0.1\nport: 1\nuser: nobody\n{serve}\n")
    (root / "inventories" / "empty.py").write_text("gpu = []\n")
    return root


def tree(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items() if group.commands else _loaded(group)):
        if isinstance(command, click.Group):
            yield from tree(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def _loaded(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield name, command


def test_every_command_that_takes_hosts_is_held_to_the_table() -> None:
    takes_hosts = {name for name, command in tree(cli) if any(one.name == "limits" for one in command.params)}  # type: ignore[arg-type]
    assert takes_hosts == set(ON_HOSTS)


@pytest.mark.parametrize("command", ON_HOSTS)
def test_options_of_all_are_there_and_mean_the_same(command: str) -> None:
    def options(name: str) -> dict[str, tuple[list[str], str | None]]:
        found = dict(tree(cli))[name]  # type: ignore[arg-type]
        return {
            one.name or "": (one.opts, getattr(one, "help", None))
            for one in found.params
            if one.name in ("words", "inventory", "limits", "as_json")
        }

    assert len(options(command)) == 4
    assert options(command) == options("report")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (
            ("gpu-99",),
            1,
            "gpu-99: no such host or group in inventories/prod.py, expected gone or a group of them; correct the name, "
            "or give its inventory with --inventory.",
        ),
        (("--limit", "lab-*"), 1, "lab-*: no such host or group in inventories/prod.py, expected gone or "),
        (
            ("gone", "--inventory", "none.py"),
            1,
            "none.py: no such inventory file; name the one given to pyinfra.",
        ),
        (("gone", "none.py"), 1, "none.py: no such inventory file; name the one given to pyinfra."),
        (
            ("inventories/empty.py", "gone"),
            1,
            "inventories/empty.py: no host in it; make a server a member with `ingot onboard`.",
        ),
        (
            ("gone", "a.py", "--inventory", "b.py"),
            2,
            "more than one inventory is named; run the command once for each. See `ingot COMMAND --help`.",
        ),
        (("gone", "--tomorrow"), 2, "No such option '--tomorrow'. See `ingot COMMAND --help`."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_hosts_and_inventories_that_are_not_there_are_one_sentence_of_all(
    checkout: Path, words: tuple[str, ...], status: int, sentence: str
) -> None:
    lines = [(*command.split(), *needed, *words) for command, needed in ON_HOSTS.items()]
    for command, said in zip(ON_HOSTS, run(checkout, *lines), strict=True):
        assert (said.status, said.out) == (status, ""), (command, said)
        assert said.err.startswith(f"ingot: {sentence.replace('COMMAND', command)}"), (command, said)
        assert said.err.count("\n") == 1, (command, said)


def test_a_host_that_does_not_answer_is_one_sentence_of_all(checkout: Path) -> None:
    lines = [(*command.split(), *needed, "gone", "--json") for command, needed in CONNECTING.items()]
    for command, said in zip(CONNECTING, run(checkout, *lines), strict=True):
        assert said.status == 1, (command, said)
        lines_of_it = [line for line in said.err.splitlines() if line.startswith("ingot: gone: no SSH at 127.0.0.1")]
        assert len(lines_of_it) == 1 and "Traceback" not in said.err, (command, said)
        if said.out:
            assert lines_of_it[0] in [f"ingot: {one}" for one in json.loads(said.out)["errors"]], (command, said)
        else:
            assert command in ("decommission", "lock break"), "where nothing can be done, nothing is printed"


def test_a_host_whose_file_is_wrong_is_refused_alone(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "here", symlinks=True)
    (tmp_path / "here" / "inventories" / "prod" / "wrong.yaml").write_text("adress: 127.0.0.1\n")
    lines = [(*command.split(), *needed, "wrong") for command, needed in CONNECTING.items()]
    for command, said in zip(CONNECTING, run(tmp_path / "here", *lines), strict=True):
        assert said.status == 1, (command, said)
        wrong = [line for line in said.err.splitlines() if "unknown key `adress` (did you mean `address`?)" in line]
        assert len(wrong) == 1 and wrong[0].startswith("ingot: wrong: "), (command, said)
