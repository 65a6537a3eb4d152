"""The inventory: one YAML file per host, read for pyinfra and for commands that run outside of a deploy."""

from ingot.inventory.host_files import load

__all__ = ["load"]
