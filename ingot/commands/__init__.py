"""The command line of Ingot: one file per command."""
