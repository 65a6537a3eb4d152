"""The watch over GPUs alone, as the engine's role brings it: what tests/found runs on a host with a driver."""

from ingot.engines.vllm import HOST_LIBRARY
from ingot.operations import tree, units
from ingot.operations.serving import gpu_watch

tree.tree(
    name="Have the watch",
    entries=[tree.Dir("/etc/ingot/engine"), tree.Dir(HOST_LIBRARY), *gpu_watch.entries(8443)],
)
units.units(gpu_watch.unit(), name="Watch the GPUs")
