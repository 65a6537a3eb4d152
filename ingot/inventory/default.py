"""The inventory that a command uses when none is named."""

from pathlib import Path

DEFAULT_INVENTORY = Path("inventories/prod.py")
