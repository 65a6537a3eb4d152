"""Test hosts: what their machine lacks, and what they fetch from their distribution instead of a vendor."""

# --- docker
# The machine under a test host may not raise limits.
docker_default_ulimits = {}
docker_source = "distribution"
