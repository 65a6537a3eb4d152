"""Figures of hosts: their exporters, the one port by which these leave a host, and the host that watches."""
