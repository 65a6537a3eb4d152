"""The inventory: one YAML file per host, read for pyinfra and for commands that run outside of a deploy."""
