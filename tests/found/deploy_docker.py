"""Preflight and Docker: what tests/found runs where it is about the container engine."""

from roles.docker import docker
from roles.preflight import preflight

preflight()
docker()
