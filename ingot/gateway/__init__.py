"""What a gateway is told, as pure functions: TLS, teams, routes, errors and engines; roles/gateway.py installs it."""
