"""The gateway of a host: nginx with TLS, keys, teams and limits, its filter, and the pool of replicas behind it."""
