"""The `ingot` command: every subcommand lives beside what it drives; this file only gathers them."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ingot.errors import IngotError

#: Subcommand -> where it lives. Imported when called, so that `ingot keys` does not wait for pyinfra.
COMMANDS = {
    "accept": "ingot.commands.accept:accept",
    "decommission": "ingot.commands.decommission:decommission",
    "demo": "ingot.commands.demo:demo",
    "drift": "ingot.commands.drift:drift",
    "keys": "ingot.commands.keys:keys_group",
    "onboard": "ingot.commands.onboard:onboard",
    "plan": "ingot.commands.plan:plan",
    "probe": "ingot.commands.probe:probe",
    "recommend": "ingot.commands.recommend:recommend",
    "report": "ingot.commands.report:report",
    "sandbox": "ingot.commands.sandbox:sandbox",
    "usage": "ingot.commands.usage:usage",
    "verify": "ingot.commands.verify:verify",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ingot")
def cli() -> None:
    """Bare GPU servers become a private, OpenAI-compatible LLM service."""


def main() -> None:
    """Run the command line; a user's error is one sentence on stderr and exit status 1."""
    try:
        cli()
    except IngotError as error:
        click.echo(f"ingot: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        # This machine's trouble, such as a full disk or a file that the user may not read.
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"ingot: {where}{error.strerror or error}; mend that and run it again.", err=True)
        sys.exit(1)
