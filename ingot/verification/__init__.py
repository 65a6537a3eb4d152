"""Proof of hosts at any time: the checks of tests/hosts in one summary, and drift from the repository."""
