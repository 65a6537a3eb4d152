"""All dashboards."""

from __future__ import annotations

from ingot.monitoring.dashboards.fleet import FLEET
from ingot.monitoring.dashboards.gpu import GPU
from ingot.monitoring.dashboards.host import HOST
from ingot.monitoring.dashboards.model import MODEL
from ingot.monitoring.dashboards.team import TEAM

DASHBOARDS = (FLEET, HOST, GPU, MODEL, TEAM)
