"""The roles up to the driver: what tests/driver runs on its hosts."""

from roles.driver import driver
from roles.preflight import preflight

preflight()
driver()
