"""docs/commands.md lists every command with its options, as the command line has them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from ingot.commands.cli import cli
from tests.commands.test_alike import ON_HOSTS, tree

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
COMMANDS = dict(tree(cli))  # type: ignore[arg-type]
#: Described once, above all commands.
COMMON = {"inventory", "limits", "as_json"}


def rows(command: click.Command, names: set[str] | None = None) -> list[str]:
    """The table's rows of options: those of `names`, else all that are not common."""
    context = click.Context(command)
    on_hosts = any(one.name == "limits" for one in command.params)
    common = COMMON if on_hosts else {"as_json"}
    found = []
    for one in command.params:
        record = one.get_help_record(context)
        if isinstance(one, click.Option) and record and (one.name in names if names else one.name not in common):
            option, meaning = (re.sub(r"\s+", " ", text).replace("|", "\\|") for text in record)
            found.append(f"| `{option}` | {meaning} |")
    return found


def section(name: str, command: click.Command) -> str:
    """What the page must have of a command; what its JSON looks like is written by hand below it."""
    context = click.Context(command, info_name=f"ingot {name}")
    words = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "").replace("[OPTIONS]", "")
    text = re.sub(r"\s+", " ", (command.help or "").partition("\n\n")[0])
    lines = [f"## ingot {name}", "", f"    ingot {name} {words}".rstrip(), "", text]
    table = rows(command)
    if table:
        lines += ["", "| option | meaning |", "| --- | --- |", *table]
    return "\n".join(lines) + "\n"


def test_the_page_has_every_command_in_order() -> None:
    assert re.findall(r"^## ingot (.+)$", PAGE, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_each_command_as_the_command_line_has_it(name: str) -> None:
    assert section(name, COMMANDS[name]) in PAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_says_what_each_json_is(name: str) -> None:
    _, _, text = PAGE.partition(f"\n## ingot {name}\n")
    has_json = any(one.name == "as_json" for one in COMMANDS[name].params)
    assert ("\nJSON: `{" in text.partition("\n## ")[0]) == has_json


def test_the_page_has_the_options_of_all_commands_on_hosts() -> None:
    for row in rows(COMMANDS[next(iter(ON_HOSTS))], {"inventory", "limits", "as_json"}):
        assert row in PAGE
    listed = re.search(r"^Commands that work on hosts: (.+)\.$", PAGE, re.MULTILINE)
    assert listed and listed[1] == ", ".join(f"`{name}`" for name in sorted(ON_HOSTS))
