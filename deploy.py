"""A bare host becomes a served model: every role in order, one line each.

pyinfra inventories/prod.py deploy.py
"""

from roles.archive import archive
from roles.cache import cache
from roles.disk import disk
from roles.docker import docker
from roles.driver import driver
from roles.engine import engine
from roles.gateway import gateway
from roles.monitoring import monitoring
from roles.preflight import preflight
from roles.remember import remember
from roles.toolkit import toolkit
from roles.transfers import transfers

preflight()  # refuses what cannot work, before anything changes
archive()  # where the distribution's packages come from, if the site says so
disk()  # an empty disk for models, formatted and mounted where one is named
transfers()  # weights begin to travel; cache() waits for them
driver()  # NVIDIA driver of the right flavour; reboots only if state needs it
docker()  # container engine with CDI
toolkit()  # GPUs by UUID inside containers
cache()  # weights on disk, verified
engine()  # measure, plan, render, replace replicas, prove a completion
gateway()  # TLS, keys and routes: the only listener
monitoring()  # figures and alerts, where a host of the group `monitor` watches
remember()  # what now serves, to go back to
