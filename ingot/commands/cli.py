"""The `ingot` command: it finds each subcommand in its own file, and turns errors into sentences."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from ingot.commands.options import HELD, REFUSED, USAGE
from ingot.errors import Held, IngotError

#: Subcommand -> where it lives. Imported when called, so that `ingot keys` does not wait for pyinfra.
COMMANDS = {
    "accept": "ingot.commands.accept:accept",
    "alerts": "ingot.commands.alerts:alerts",
    "bench": "ingot.commands.bench:bench",
    "bundle": "ingot.commands.bundle:bundle_group",
    "completion": "ingot.commands.completion:completion",
    "dashboards": "ingot.commands.dashboards:dashboards",
    "decommission": "ingot.commands.decommission:decommission",
    "demo": "ingot.commands.demo:demo",
    "drift": "ingot.commands.drift:drift",
    "history": "ingot.commands.history:history",
    "keys": "ingot.commands.keys:keys_group",
    "lock": "ingot.commands.lock:lock_group",
    "migrate": "ingot.commands.migrate:migrate",
    "models": "ingot.commands.models:models_group",
    "onboard": "ingot.commands.onboard:onboard",
    "panels": "ingot.commands.panels:panels",
    "plan": "ingot.commands.plan:plan",
    "probe": "ingot.commands.probe:probe",
    "recommend": "ingot.commands.recommend:recommend",
    "report": "ingot.commands.report:report",
    "rollback": "ingot.commands.rollback:rollback",
    "rollout": "ingot.commands.rollout:rollout",
    "sandbox": "ingot.commands.sandbox:sandbox",
    "status": "ingot.commands.status:status",
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
    """Run the command line; what goes wrong is one sentence on stderr, and an exit status of `options`."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "ingot"
        _refuse(f"{error.format_message().rstrip('.')}. See `{command} --help`.", USAGE)
    except click.Abort:
        _refuse("interrupted; run the same line again to go on.")
    except Held as held:
        _refuse(str(held), HELD)
    except (IngotError, click.ClickException) as error:
        _refuse(str(error))
    except OSError as error:
        # This machine's trouble, such as a full disk or a file that the user may not read.
        where = f"{error.filename}: " if error.filename else ""
        _refuse(f"{where}{error.strerror or error}; mend that and run it again.")


def _refuse(sentence: str, status: int = REFUSED) -> NoReturn:
    click.echo(f"ingot: {sentence}", err=True)
    sys.exit(status)
