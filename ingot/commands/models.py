"""`ingot models`: what can be served, described, and locked to commits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ingot.commands import words
from ingot.commands.options import end, hosts_options, json_option, print_json
from ingot.errors import IngotError

SITE = Path("inventories/models.site.yaml")
_site = click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    default=SITE,
    show_default=True,
    help="The site's models.",
)


@click.group("models")
def models_group() -> None:
    """List, describe, lock and tidy up the models that can be served."""


@models_group.command("list")
@click.option("--kind", help="Only generate, embed, rerank or transcribe.")
@_site
@json_option
def list_models(kind: str | None, site: Path, as_json: bool) -> None:
    """List every model: what it is for, its sizes and formats."""
    from ingot.hub.describe import kind_named
    from ingot.hub.showing import rows
    from ingot.report.console import plain_console, plain_table

    found = rows(site, kind_named(kind))
    if as_json:
        print_json({"models": found})
        return
    table = plain_table("model", "kind", "parameters", "context", "variants", right=("parameters", "context"))
    for row in found:
        names = ", ".join(f"{one['name']}{'' if one['verified'] else '?'}" for one in row["variants"])
        size = f"{'' if row['shapes'] else '~'}{row['parameters'] / 1e9:.1f}B"
        table.add_row(row["name"], row["kind"], size, str(row["context"] or "-"), names)
    plain_console().print(table)
    click.echo(
        "A ? marks a repository and a ~ shapes that no published source confirms; `ingot models lock` asks the hub.",
        err=True,
    )


@models_group.command("show")
@click.argument("name", shell_complete=words.models)
@_site
@json_option
def show(name: str, site: Path, as_json: bool) -> None:
    """Show one model: its engine arguments, variants, repositories and commits."""
    from ingot.hub.showing import lines, row_of

    row = row_of(name, site)
    if as_json:
        print_json(row)
        return
    for line in lines(row):
        click.echo(line)


@models_group.command("add")
@click.argument("repository")
@click.option("--name", help="What callers ask for.  [default: the repository's name in small letters]")
@click.option("--revision", help="A branch or commit.  [default: the newest]")
@click.option("--kind", help="generate, embed, rerank or transcribe.  [default: by its class]")
@click.option("--hub", default="https://huggingface.co", show_default=True, help="Address of the hub or its mirror.")
@click.option("--token-file", help="A file with a hub token, for gated models.")
@click.option("--replace", is_flag=True, help="Write over an entry of this name.")
@_site
@json_option
def add(repository: str, site: Path, as_json: bool, **options: Any) -> None:
    """Describe REPOSITORY (ORG/NAME of a hub, or a directory) by its own files, as a model of this site."""
    from ingot.hub.adding import add_to

    described = add_to(site, repository, **options)
    if as_json:
        print_json({"name": described.name, "entry": described.entry, "notes": described.notes, "file": str(site)})
        return
    click.echo(f"{described.name} is written to {site}; see what it needs: `ingot plan --model {described.name}`.")
    for note in described.notes:
        click.echo(note, err=True)


@models_group.command("lock")
@hosts_options
@click.option("--update", is_flag=True, help="Take what is newest at the hub; without it, what is locked stays.")
@click.option("--dry", is_flag=True, help="Show what would change, and write nothing.")
@json_option
def lock(inventory: Path | None, hosts: tuple[str, ...], update: bool, dry: bool, as_json: bool) -> None:
    """Lock what each HOST may serve to commits with their files.

    Every variant is resolved and written to models.lock.yaml.

    Deploys take what is locked and nothing else.
    """
    from ingot.hub.locking import lock_for
    from ingot.inventory.fleet import selected

    done = lock_for(
        selected(inventory, hosts).hosts,
        update=update,
        dry=dry,
        whole=not hosts,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        print_json(done.to_dict())
    else:
        for line in done.lines():
            click.echo(line)
    end(done.errors())


@models_group.command("check")
@hosts_options
@click.option("--offline", is_flag=True, help="Ask no hub whether it still has what is locked.")
@json_option
def check(inventory: Path | None, hosts: tuple[str, ...], offline: bool, as_json: bool) -> None:
    """See that what HOSTs serve is known to their engine and locked, and that the hub still has it.

    Shows what names the commit of each variant that may be served.
    """
    from dataclasses import asdict

    from ingot.hub.checking import check_hosts, stands
    from ingot.inventory.fleet import selected
    from ingot.report.console import plain_console, plain_table

    chosen = selected(inventory, hosts).hosts
    found, findings = stands(chosen), check_hosts(chosen, offline=offline)
    if as_json:
        print_json({"variants": [asdict(one) for one in found], "findings": findings, "errors": []})
    else:
        table = plain_table("variant", "repository", "commit", "named by")
        for one in found:
            table.add_row(one.variant, one.repository, (one.commit or "-")[:12], one.by)
        plain_console().print(table)
        for finding in findings:
            click.echo(finding)
        if not findings:
            click.echo("Everything that these hosts serve is locked and known to their engine.")
    end([], found=bool(findings))


@models_group.command("prune")
@hosts_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry", is_flag=True, help="Show what would be deleted, and do nothing.")
@json_option
def prune(inventory: Path | None, hosts: tuple[str, ...], yes: bool, dry: bool, as_json: bool) -> None:
    """Delete models on HOSTs that no plan, no rollback and no container needs.

    What transfers that were given up have left goes too. Only what Ingot can prove that it made is deleted.
    """
    if not (yes or dry or sys.stdin.isatty()):
        raise IngotError("nothing was deleted, since nobody can be asked; give --yes to go on.")
    from ingot.housekeeping.pruning import pruned
    from ingot.inventory.fleet import selected

    chosen = selected(inventory, hosts)
    found = pruned(chosen, dry=True)
    for one in found:
        for sentence in one.sentences or (() if one.error else ("nothing to delete",)):
            click.echo(f"{one.host}: {sentence}", err=as_json)
    if not dry and any(one.sentences for one in found):
        if not yes and not click.confirm("Delete these?", err=True):
            raise IngotError("nothing was deleted.")
        found = pruned(chosen, dry=False)
    errors = [one.error for one in found if one.error]
    if as_json:
        print_json({"hosts": [one.to_dict() for one in found if not one.error], "errors": list(map(str, errors))})
    end(errors)
