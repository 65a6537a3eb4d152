"""Figures and alerts: what each host says of itself, for one port alone, and the host that watches them all."""

from pyinfra.api import deploy

from ingot.operations.monitoring import dcgm, exporter, monitor, port


@deploy("Monitoring")
def monitoring() -> None:
    """Have every host watched where the inventory has a group `monitor`; elsewhere nothing is installed or asked."""
    exporter.exporter(name="Figures of the host")
    dcgm.dcgm(name="Figures of the GPUs by NVIDIA's DCGM")
    port.port(name="One port for them, for the monitor alone")
    monitor.monitor(name="Prometheus and Alertmanager")
