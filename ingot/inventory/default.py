"""The inventory of commands that are given none."""

from pathlib import Path

DEFAULT_INVENTORY = Path("inventories/prod.py")
