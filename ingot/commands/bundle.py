"""`ingot bundle look|create|verify|values|push|serve`: all that the hosts of a closed site need, carried to them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingot.commands.options import FILE, end, hosts_options, json_option, print_json

if TYPE_CHECKING:
    from ingot.bundle.manifest import Manifest

DIRECTORY = click.Path(path_type=Path, file_okay=False)
#: The public key of bundles, beside the inventories: in git, it says whose bundles a site takes.
KEY = Path("inventories/bundle.pub")
#: So many files that are wrong are named; of more their number is told.
MOST = 8
#: Where it is on hosts.
AT = "/srv/ingot-bundle"
#: Where the whole of it is on the host that serves it to the others.
SERVED = "/srv/ingot-served"
_key = click.option(
    "--key", type=FILE, default=KEY, show_default=True, help="The public key that the bundle must be signed by."
)


def _absolute(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"(?!.*/\.\.?(/|$))(/[\w.@+=-]+)+/?", value):
        raise click.BadParameter("an absolute path of letters, digits and . _ - + = @ is expected.")
    return value.rstrip("/")


def _networks(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(one)) for one in value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.group("bundle")
def bundle_group() -> None:
    """Carry packages, images, models and Ingot to a site without internet."""


@bundle_group.command("look")
def look() -> None:
    """Print the script that tells `create` of a host that is not reached: run it there as root, into a file."""
    from ingot.bundle.target import script

    click.echo(script(), nl=False)


@bundle_group.command("create")
@hosts_options
@click.option("--to", "directory", type=DIRECTORY, required=True, help="The bundle's directory on this machine.")
@click.option(
    "--state",
    "states",
    type=FILE,
    multiple=True,
    help="What the script of `look` printed on a host, in a file NAME.state; repeatable. The others are asked.",
)
@click.option("--since", type=DIRECTORY, help="Leave out what this earlier bundle lists: the site has it.")
@click.option("--without-ingot", is_flag=True, help="Leave Ingot's own checkout and packages out: the site has them.")
@click.option("--key", type=FILE, default=KEY, show_default=True, help="Where the public key is written.")
@json_option
def create(
    directory: Path,
    inventory: Path | None,
    hosts: tuple[str, ...],
    states: tuple[Path, ...],
    since: Path | None,
    without_ingot: bool,
    key: Path,
    as_json: bool,
) -> None:
    """Gather what each HOST needs into a directory, and sign it.

    Run it on a machine with internet. A second run into the same directory fetches only what is new.
    """
    from ingot.bundle import create as creating
    from ingot.bundle.manifest import MANIFEST, read_signed
    from ingot.bundle.states import targets
    from ingot.inventory.fleet import root, secrets_of, selected
    from ingot.secrets import bundle_key, files

    chosen = selected(inventory, hosts)
    found, errors = targets(chosen, states)
    if errors:
        if as_json:
            print_json({"errors": errors})
        end(errors)
    private = bundle_key.signing_key(secrets_of(chosen.path, chosen.state))
    public = bundle_key.public_pem(private)
    made = creating.create(
        directory,
        found,
        private,
        None if without_ingot else root(chosen.path),
        since=read_signed(since, public) if since else None,
        say=lambda line: click.echo(line, err=True),
    )
    key.parent.mkdir(parents=True, exist_ok=True)
    files.replace(key, public, mode=0o644)
    if as_json:
        print_json(
            {
                **_shown(made.manifest),
                "new": made.new,
                "new_bytes": made.new_bytes,
                "key": made.fingerprint,
                "errors": [],
            }
        )
        return
    click.echo(
        f"{directory / MANIFEST}: {len(made.manifest.files)} files, {made.manifest.bytes / 1e9:.2f} GB, of which "
        f"{made.new_bytes / 1e9:.2f} GB are to be carried; signed by the key {made.fingerprint} ({key})"
    )


@bundle_group.command("verify")
@click.argument("directory", type=DIRECTORY)
@_key
@json_option
def verify(directory: Path, key: Path, as_json: bool) -> None:
    """Prove the signature of the bundle in DIRECTORY, and every byte of it."""
    manifest, errors = _proven(directory, key)
    if as_json:
        print_json({**_shown(manifest), "errors": errors})
    elif not errors:
        click.echo(
            f"{directory}: every byte is as signed at {manifest.created}; it is for {', '.join(sorted(manifest.hosts))}"
        )
    end(errors)


@bundle_group.command("values")
@click.argument("directory", type=DIRECTORY)
@click.option("--at", "base", default=f"file://{AT}/current", show_default=True, help="Where hosts see it.")
@_key
@json_option
def values(directory: Path, base: str, key: Path, as_json: bool) -> None:
    """Print the values by which hosts take everything from the bundle in DIRECTORY."""
    from ingot.bundle.manifest import read_signed
    from ingot.bundle.values import as_python
    from ingot.bundle.values import values as values_of

    found = values_of(read_signed(directory, _public(key)), base.rstrip("/"))
    if as_json:
        print_json({"hosts": found, "errors": []})
        return
    click.echo(as_python(found), nl=False)


@bundle_group.command("push")
@hosts_options
@click.option("--from", "directory", type=DIRECTORY, required=True, help="The bundle's directory on this machine.")
@click.option("--at", "to", callback=_absolute, default=AT, show_default=True, help="Its directory on each HOST.")
@click.option("--older", is_flag=True, help="Also take the place of a newer bundle.")
@_key
@json_option
def push(
    directory: Path,
    inventory: Path | None,
    hosts: tuple[str, ...],
    to: str,
    older: bool,
    key: Path,
    as_json: bool,
) -> None:
    """Bring each HOST what it needs of a bundle.

    The bundle is proven first; only what a HOST lacks travels.
    """
    from ingot.bundle.push import push as push_to
    from ingot.bundle.store import Store
    from ingot.errors import IngotError
    from ingot.inventory.fleet import asked, selected

    chosen = selected(inventory, hosts)
    manifest, errors = _proven(directory, key)
    if errors:
        end(errors)
    store = Store(directory)
    answers = asked(
        chosen,
        lambda host: push_to(store, manifest, host, to=to, older=older, say=lambda line: click.echo(line, err=True)),
    )
    shown = []
    for name, answer in zip(chosen.names, answers, strict=True):
        if not isinstance(answer, IngotError):
            shown.append({"host": name, "new": answer.new, "new_bytes": answer.new_bytes})
            if not as_json:
                click.echo(f"{name}: has the bundle at {to}; {answer.new_bytes / 1e9:.2f} GB travelled")
    errors = [str(one) for one in answers if isinstance(one, IngotError)]
    if as_json:
        print_json({"hosts": shown, "errors": errors})
    end(errors)


@bundle_group.command("serve")
@hosts_options
@click.option("--from", "directory", type=DIRECTORY, help="The bundle's directory on this machine.")
@click.option("--at", "to", callback=_absolute, default=SERVED, show_default=True, help="Its directory on the HOST.")
@click.option("--port", type=click.IntRange(1, 65535), default=8445, show_default=True, help="The port it serves on.")
@click.option(
    "--allow",
    "networks",
    callback=_networks,
    multiple=True,
    metavar="NETWORK",
    help="Who may take it; repeatable.  [default: the addresses of the inventory's hosts]",
)
@click.option("--older", is_flag=True, help="Also take the place of a newer bundle.")
@click.option("--stop", is_flag=True, help="Serve no more; the bundle stays in its directory.")
@_key
@json_option
def serve(
    directory: Path | None,
    inventory: Path | None,
    hosts: tuple[str, ...],
    to: str,
    port: int,
    networks: tuple[str, ...],
    older: bool,
    stop: bool,
    key: Path,
    as_json: bool,
) -> None:
    """Have one HOST serve a bundle to the other hosts over TLS, by an nginx of its own.

    The whole bundle is proven and brought there first. Its certificate, by Ingot's own CA, is for a year: run it again
    within half of that.
    """
    from ingot.bundle import serve as serving
    from ingot.bundle.store import Store
    from ingot.errors import IngotError
    from ingot.inventory.fleet import asked, secrets_of, selected
    from ingot.secrets import pki
    from ingot.settings import section
    from ingot.settings.gateway import Gateway

    chosen = selected(inventory, hosts)
    if not hosts or len(chosen.hosts) != 1:
        raise click.UsageError("name the one host that serves the bundle.")
    if stop:
        answers = asked(chosen, lambda host: serving.stop(host, at=to, port=port))
        errors = [str(one) for one in answers if isinstance(one, IngotError)]
        if as_json:
            print_json({"errors": errors})
        elif not errors:
            click.echo(f"{chosen.names[0]}: serves no bundle; what it served is in {to}")
        end(errors)
        return
    if directory is None:
        raise click.UsageError("Missing option '--from'.")
    (host,) = chosen.hosts
    allowed = networks or serving.networks(chosen.state.inventory)
    manifest, errors = _proven(directory, key)
    if errors:
        end(errors)
    ca = pki.authority(secrets_of(chosen.path, chosen.state), section(host, Gateway).gateway_ca_scope)
    (answer,) = asked(
        chosen,
        lambda one: serving.serve(
            Store(directory),
            manifest,
            one,
            ca,
            allowed,
            at=to,
            port=port,
            older=older,
            say=lambda line: click.echo(line, err=True),
        ),
    )
    if isinstance(answer, IngotError):
        if as_json:
            print_json({"errors": [str(answer)]})
        end([answer])
        return
    if as_json:
        print_json(
            {
                "address": answer.address,
                "new": answer.pushed.new,
                "new_bytes": answer.pushed.new_bytes,
                "changed": answer.changed,
                "errors": [],
            }
        )
        return
    click.echo(
        f"{host.name}: serves {directory} at {answer.address}; {answer.pushed.new_bytes / 1e9:.2f} GB travelled. Its "
        f"values: ingot bundle values {directory} --at {answer.address}"
    )


def _public(key: Path) -> str:
    from ingot.errors import IngotError

    try:
        return key.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise IngotError(
            f"{key} cannot be read, expected the public key that `ingot bundle create` has written; bring it another "
            "way than the bundle, or compare its fingerprint by telephone."
        ) from None


def _proven(directory: Path, key: Path) -> tuple[Manifest, list[str]]:
    from ingot.bundle.manifest import read_signed, wrong_objects
    from ingot.bundle.store import Store

    manifest = read_signed(directory, _public(key))
    wrong = wrong_objects(Store(directory), manifest.files, lambda line: click.echo(line, err=True))
    said = [f"{one.path} ({Store(directory).object(one.sha256)}) {why}; copy it again." for one, why in wrong[:MOST]]
    if len(wrong) > MOST:
        said.append(
            f"{len(wrong) - MOST} more files are missing or wrong in {directory}; one made with --since needs the "
            "earlier one's files beside its own."
        )
    return manifest, said


def _shown(manifest: Manifest) -> dict[str, object]:
    return {
        "serial": manifest.serial,
        "created": manifest.created,
        "hosts": sorted(manifest.hosts),
        "files": len(manifest.files),
        "bytes": manifest.bytes,
        "images": manifest.images,
    }
