"""Test hosts: what their machine lacks, and what they fetch from their distribution instead of a vendor."""

# --- serving
# A model with random weights, made on the spot; one replica, since it computes on the machine's few cores.
serve = [{"model": "tiny-qwen3", "context": 4096, "concurrency": 8, "replicas": 1}]

# --- docker
# The machine under a test host may not raise limits.
docker_default_ulimits = {}
docker_source = "distribution"

# --- verify
# systemd-resolved, which test hosts have, answers neighbours' LLMNR.
verify_ports = [5355]
