"""The collector that every watched host runs by its own python3 (3.10 or newer): it reads, and writes one file.

Standard library only. Each part reads its source by itself, so that one that fails leaves the others' figures.
"""
