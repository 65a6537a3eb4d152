"""`ingot sandbox check|images|up|down|list|ssh`: test hosts from the command line."""

from __future__ import annotations

import os

import click

from ingot.commands.options import json_option, print_json


@click.group()
def sandbox() -> None:
    """Boot and end test hosts with simulated GPUs."""
    # A host's root directory gets this machine's umask: under 077 nobody but root could enter it.
    os.umask(0o022)


@sandbox.command()
def check() -> None:
    """Say in one sentence why this machine cannot have test hosts; silent where it can."""
    from ingot.sandbox import Paths, requirements

    requirements.check(Paths.from_environment())
    requirements.check_processor()


@sandbox.command()
def images() -> None:
    """Make ahead what test hosts are made of and what they fetch; silent where it is there."""
    from ingot.sandbox import Sandbox, mirror

    Sandbox().ensure_images()
    mirror.ensure()


@sandbox.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--profile", default="rtx4090x1", show_default=True, help="Simulated hardware.")
@click.option("--os", "system", default="debian13", show_default=True, help="debian13 or debian12.")
def up(hosts: tuple[str, ...], profile: str, system: str) -> None:
    """Boot each HOST (default: gpu-01), or finish what an earlier call began."""
    from ingot.sandbox import Sandbox

    for name in hosts or ("gpu-01",):
        host = Sandbox().up(name, profile=profile, os=system)
        click.echo(f"{host.name} is up at {host.address} ({profile}); log in with: ingot sandbox ssh {host.name}")


@sandbox.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--all", "everything", is_flag=True, help="Every host and all they shared.")
def down(hosts: tuple[str, ...], everything: bool) -> None:
    """End each HOST and remove everything of it."""
    if bool(hosts) == everything:
        raise click.UsageError("say which hosts to end, or --all: `ingot sandbox list` shows which there are.")
    from ingot.sandbox import Sandbox

    if everything:
        Sandbox().down_all()
    for name in hosts:
        Sandbox().down(name)


@sandbox.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the hosts: name, address, system, simulated hardware, whether it runs."""
    from ingot.sandbox import Sandbox

    rows = [
        {
            "host": host.name,
            "address": host.address,
            "os": host.record.os,
            "profile": host.record.profile,
            "state": "running" if host.is_running else "off",
        }
        for host in Sandbox().hosts()
    ]
    if as_json:
        print_json({"hosts": rows, "errors": []})
        return
    for row in rows:
        click.echo("\t".join(row.values()))


@sandbox.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(host: str, command: tuple[str, ...]) -> None:
    """Log in to HOST, or run one COMMAND there; its exit status is the command's."""
    from ingot.sandbox import Sandbox

    argv = Sandbox().host(host).ssh_command(*command)
    os.execvp(argv[0], argv)
