"""The throwaway hosts that `ingot sandbox up` (or `make demo`) booted on this machine."""

from ingot.sandbox.inventory import hosts

gpu = hosts()
