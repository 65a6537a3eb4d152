"""Simulated: what answers under NVIDIA's names on a test host; copied into the guest and run there by its own python3.

Nothing here is imported by Ingot itself. Standard library only, Python 3.10 and newer.
"""
