"""`ingot demo up|down`: a throwaway host, provisioned by the real deploy.py, answers a question through TLS."""

from __future__ import annotations

import os
import time

import click


@click.group()
def demo() -> None:
    """Boot a test host, deploy it, ask its model a question."""
    # A host's root directory gets this machine's umask: under 077 nobody but root could enter it.
    os.umask(0o022)


@demo.command()
def up() -> None:
    """Boot a host, provision it with deploy.py and ask its model a question; every step is shown."""
    import json

    from ingot.report.console import plain_console
    from ingot.report.plan_terminal import print_plan
    from ingot.sandbox import Sandbox, mirror, requirements
    from ingot.sandbox.demo import NAME, PROFILE, QUESTION, deploy, endpoint_of, ensure_key, header_path
    from ingot.sizing import HostPlan

    started = time.monotonic()
    sandbox = Sandbox()
    requirements.prepare(sandbox.paths, click.echo)
    _step(started, "making what test hosts fetch: packages, vLLM's image (minutes, the first time), a tiny model")
    mirror.ensure()
    _step(started, f"booting the test host {NAME!r} with a simulated GPU ({PROFILE})")
    host = sandbox.up(NAME, profile=PROFILE)
    header = header_path(sandbox)
    ensure_key(sandbox.secrets_dir, header)
    _step(started, "running pyinfra inventories/sandbox.py deploy.py")
    deploy()
    endpoint = endpoint_of(host, sandbox.secrets_dir, header)
    _step(started, f"asking {endpoint.model} through TLS with a key: {QUESTION}")
    click.echo("".join(endpoint.ask(stream=False)))
    _step(started, "asking again, streamed")
    pieces = 0
    for piece in endpoint.ask(stream=True):
        pieces += 1
        click.echo(piece, nl=False)
    click.echo(f"\n({pieces} pieces; the model's weights are random, so it means nothing)")
    _step(started, "the plan that was used")
    plan = HostPlan.from_dict(json.loads(host.succeeds("cat /var/lib/ingot/plan.json"))["plan"])
    print_plan(plan, console=plain_console())
    _step(started, "try it yourself, then remove every trace with: make demo-down")
    click.echo(endpoint.curl())


@demo.command("key-file")
def key_file() -> None:
    """Print where the demo's key is, as the header line that curl takes with -H @FILE."""
    from ingot.sandbox import Sandbox
    from ingot.sandbox.demo import header_path

    click.echo(header_path(Sandbox()))


@demo.command()
def down() -> None:
    """Remove every trace: hosts, network, keys and the cached images."""
    from ingot.sandbox import Sandbox

    sandbox = Sandbox()
    sandbox.down_all()
    sandbox.purge()
    click.echo("ingot: the demo, all test hosts and the cached images are gone")


def _step(started: float, what: str) -> None:
    click.secho(f"==> [{time.monotonic() - started:4.0f} s] {what}", bold=True)
