"""Proving a host at any time: the checks of tests/hosts in one summary, drift from the repository, and leaving."""
