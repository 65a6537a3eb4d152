"""From the values and GPUs of a host to running replicas: the plan, its services, and their rollout."""
