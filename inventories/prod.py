"""The production fleet: one file per host in inventories/prod/, groups as host files name them.

pyinfra inventories/prod.py deploy.py [--limit gpu-01] [--dry] [--diff]
"""

from pathlib import Path

from ingot.inventory.host_files import load

# Each group becomes a list of this name, which is how pyinfra learns of it.
globals().update(load(Path(__file__).parent / "prod").groups())
