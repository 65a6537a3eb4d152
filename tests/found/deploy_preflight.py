"""Preflight alone: what tests/found runs where a host is refused."""

from roles.preflight import preflight

preflight()
