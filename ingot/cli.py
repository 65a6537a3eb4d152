"""The `ingot` command: every subcommand lives beside what it drives; this file only gathers them."""

from __future__ import annotations

import sys

import click

from ingot.errors import IngotError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
