"""Dashboards as code: one description of panels, from which Grafana's JSON is made.

Order: `panel`, one file per dashboard, `catalogue`, `grafana`.
"""
