"""`ingot dashboards`: Grafana's dashboards as files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def dashboards(directory: Path) -> None:
    """Write the dashboards for Grafana into DIRECTORY: fleet, host, GPU, model, team.

    Import the files, or let Grafana's file provider read the directory; the data source, the Prometheus of the group
    `monitor`, is chosen there. Files of other names are left alone.
    """
    from ingot.monitoring.dashboards.catalogue import DASHBOARDS
    from ingot.monitoring.dashboards.grafana import grafana_json
    from ingot.secrets import files

    directory.mkdir(parents=True, exist_ok=True)
    for one in DASHBOARDS:
        files.replace(directory / f"ingot-{one.name}.json", grafana_json(one), 0o644)
    click.echo(f"wrote {len(DASHBOARDS)} dashboards into {directory}")
