"""The roles up to the engine's image: what an acceptance needs on a host, without waiting for an engine to start."""

from ingot.operations.serving import images
from roles.docker import docker
from roles.driver import driver
from roles.preflight import preflight
from roles.toolkit import toolkit

preflight()
driver()
docker()
toolkit()
images.brought(name="Have the image")
