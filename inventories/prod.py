"""The production fleet: one file per host in inventories/prod/, groups named here.

pyinfra inventories/prod.py deploy.py [--limit gpu-01] [--dry] [--diff]
"""

from pathlib import Path

from ingot.inventory import load

_fleet = load(Path(__file__).parent / "prod")

gpu = _fleet.group("gpu")
