"""`ingot sandbox up|down|list|ssh`: test hosts from the command line."""

import os

import click

from ingot.sandbox.errors import SandboxError
from ingot.sandbox.sandbox import Sandbox


@click.group()
def sandbox() -> None:
    """Throwaway test hosts: real Debian machines with simulated GPUs."""
    # A host's root directory gets this machine's umask: under 077 nobody but root could enter it.
    os.umask(0o022)


@sandbox.command()
@click.argument("names", nargs=-1)
@click.option("--name", "extra", multiple=True, help="Same as an argument.")
@click.option("--profile", default="rtx4090x1", show_default=True, help="Simulated hardware.")
@click.option("--os", "system", default="debian13", show_default=True, help="debian13 or debian12.")
def up(names: tuple[str, ...], extra: tuple[str, ...], profile: str, system: str) -> None:
    """Boot hosts (default: gpu-01), or finish what an earlier call began."""
    for name in names + extra or ("gpu-01",):
        host = Sandbox().up(name, profile=profile, os=system)
        click.echo(f"{host.name} is up at {host.address} ({profile}); log in with: ingot sandbox ssh {host.name}")


@sandbox.command()
@click.argument("names", nargs=-1)
@click.option("--name", "extra", multiple=True, help="Same as an argument.")
@click.option("--all", "everything", is_flag=True, help="Every host and all they shared.")
def down(names: tuple[str, ...], extra: tuple[str, ...], everything: bool) -> None:
    """End hosts and remove everything of them."""
    if everything:
        Sandbox().down_all()
        return
    if not names + extra:
        raise SandboxError("say which host to end, or --all: `ingot sandbox list` shows which there are")
    for name in names + extra:
        Sandbox().down(name)


@sandbox.command(name="list")
def list_() -> None:
    """Show the hosts."""
    for host in Sandbox().hosts():
        state = "running" if host.is_running else "off"
        click.echo(f"{host.name}\t{host.address}\t{host.record.os}\t{host.record.profile}\t{state}")


@sandbox.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, command: tuple[str, ...]) -> None:
    """Log in to a host, or run one command there."""
    argv = Sandbox().host(name).ssh_command(*command)
    os.execvp(argv[0], argv)
