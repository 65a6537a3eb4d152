"""`ingot completion`: what a shell needs to complete commands, hosts and models."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "fish", "zsh")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what SHELL needs to complete commands, options, hosts and models.

    For bash: add `eval "$(ingot completion bash)"` to ~/.bashrc.
    For zsh: add `eval "$(ingot completion zsh)"` to ~/.zshrc.
    For fish: run `ingot completion fish > ~/.config/fish/completions/ingot.fish`.
    """
    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root().command
    # `source` would run bash to ask its version.
    made = found(root, {}, "ingot", "_INGOT_COMPLETE")
    click.echo(made.source_template % made.source_vars())
