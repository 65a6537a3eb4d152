"""Preflight and the gateway: what tests/found runs on a host whose nginx serves somebody else's sites."""

from roles.gateway import gateway
from roles.preflight import preflight

preflight()
gateway()
