"""The state by Ingot's operations."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import state

from ingot.operations import packages, tree, units

packages.packages(state.PACKAGES, name="Packages")
tree.tree(
    [
        *(tree.Dir(path, mode=mode) for path, mode in state.DIRECTORIES.items()),
        *(
            tree.File(path, content, mode=mode, secret=path.startswith(state.SECRET))
            for path, (mode, content) in state.FILES.items()
        ),
    ],
    name="Directories and files",
)
units.units(
    units.Unit("nginx", reload_on=(state.SITE,)), units.Unit("bench", restart_on=(state.UNIT,)), name="Units run"
)
