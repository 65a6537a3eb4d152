"""The state by pyinfra's own operations."""

import sys
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import state
from pyinfra.operations import apt, files, systemd

apt.packages(packages=state.PACKAGES, no_recommends=True, name="Packages")
for path, mode in state.DIRECTORIES.items():
    files.directory(path=path, mode=mode, user="root", group="root", name=f"Directory {path}")
changed = {
    path: files.put(src=StringIO(content), dest=path, mode=mode, user="root", group="root", name=f"File {path}")
    for path, (mode, content) in state.FILES.items()
}
systemd.daemon_reload(name="Read units", _if=[changed[state.UNIT].did_change])
for unit in state.UNITS:
    systemd.service(service=unit, running=True, enabled=True, name=f"Unit {unit}")
systemd.service(service="nginx", reloaded=True, name="Reload nginx", _if=[changed[state.SITE].did_change])
