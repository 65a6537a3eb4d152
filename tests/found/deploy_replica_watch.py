"""The watch over GPUs alone, as the engine's role brings it: what tests/found runs on a host with a driver."""

from ingot.engines.vllm import HOST_LIBRARY
from ingot.operations import tree, units
from ingot.operations.serving import replica_watch

tree.tree(
    name="Have the watch",
    entries=[tree.Dir("/etc/ingot/engine"), tree.Dir(HOST_LIBRARY), *replica_watch.entries(8443)],
)
units.units(replica_watch.unit(), name="Watch the GPUs")
