"""The roles up to containers with GPUs: what tests/driver/test_instances.py runs on its host."""

from roles.docker import docker
from roles.driver import driver
from roles.preflight import preflight
from roles.toolkit import toolkit

preflight()
driver()
docker()
toolkit()
