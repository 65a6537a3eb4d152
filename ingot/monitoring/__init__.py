"""Monitoring: the metrics that a host writes, the alert rules over them, and the dashboards. Pure.

Order: `metrics`, then `rules` and `dashboards`.
"""
