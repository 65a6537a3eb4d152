"""The filter: a process from the engine's image that redacts answers, checks requests and keeps token budgets.

Runs with the standard library of that image alone; nothing here imports another part of Ingot.
"""
