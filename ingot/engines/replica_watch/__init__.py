"""The host's own watch over its replicas: what failed leaves the gateway's pool, and comes back proven.

Runs on the host itself, where it lies as a package of this name, from a systemd timer by python3 (3.10 or newer):

    python3 -m ingot.engines.replica_watch SETTINGS

SETTINGS is a JSON file with the keys of `settings.Settings`. What is held out stands in the file `holds`, which the
deploy, the gateway's role and `ingot verify` read; the file of nginx' upstreams becomes what the gateway's role would
write for it.
"""
