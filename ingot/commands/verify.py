"""`ingot verify`: every check of tests/hosts on hosts of an inventory, and what they found in one table."""

from __future__ import annotations

from pathlib import Path

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json


@click.command()
@hosts_options
@click.option("--evidence", type=click.Path(path_type=Path, file_okay=False), help="Keep verify.json and JUnit here.")
@click.option(
    "--api-key-file",
    type=FILE,
    help="Call hosts with this key  [default: INGOT_API_KEY, or the key that deploys keep for this].",
)
@click.option("--daemon-reload", is_flag=True, help="First have systemd read its configuration again.")
@click.option("--after-reboot", is_flag=True, help="First reboot the hosts, all at once; they must be named.")
@json_option
def verify(
    inventory: Path | None,
    hosts: tuple[str, ...],
    evidence: Path | None,
    api_key_file: Path | None,
    daemon_reload: bool,
    after_reboot: bool,
    as_json: bool,
) -> None:
    """Prove that each HOST keeps every promise of every role.

    It is looked at from inside, and called as its callers call it. All hosts are looked at at once; nothing on them is
    changed. The exit status is 0 when every check passed.
    """
    if after_reboot and not hosts:
        raise click.UsageError("--after-reboot reboots hosts and needs their names; give them.")
    import tempfile

    from ingot.inventory.fleet import root, selected
    from ingot.report.console import plain_console
    from ingot.report.verification import table
    from ingot.verification.checks import checked

    chosen = selected(inventory, hosts)
    flags = [flag for flag, on in (("--daemon-reload", daemon_reload), ("--reboot", after_reboot)) if on]
    if api_key_file:
        flags += ["--api-key-file", str(api_key_file.resolve())]
    if after_reboot:
        click.echo(f"rebooting {', '.join(chosen.names)} and waiting for the engines: some minutes …", err=True)
    with tempfile.TemporaryDirectory(prefix="ingot-verify-") as temporary:
        directory = (evidence or Path(temporary)).resolve()
        found = checked(root(chosen.path), chosen.path.resolve(), hosts, directory, flags)
    errors = [f"{one.host}: {one.trouble}" for one in found if one.trouble]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found if not one.trouble], "errors": errors})
    else:
        console = plain_console()
        console.print(table(found))
        for one in found:
            for sentence in () if one.trouble else one.failures:
                console.print(f"{one.host}: {sentence}", soft_wrap=True)
    end(errors, found=not all(one.good for one in found))
