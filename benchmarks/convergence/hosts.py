"""The benchmark's hosts as a pyinfra inventory: a file of names and data, which $CONVERGENCE_HOSTS names."""

import json
import os
from pathlib import Path

hosts = [tuple(one) for one in json.loads(Path(os.environ["CONVERGENCE_HOSTS"]).read_text())]
