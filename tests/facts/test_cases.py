"""Facts on outputs captured on test hosts, by pyinfra's own harness: a directory per fact, a file per behaviour."""

from pathlib import Path
from unittest.mock import patch

import pytest

# The harness imports pyinfra's command line, which makes every socket and thread of this process gevent's.
with patch("gevent.monkey.patch_all"):
    from pyinfra_testing.facts import make_fact_tests

# Commands are proven where they run, on a host.
pytestmark = pytest.mark.filterwarnings("ignore:No command set for test")

CASES = Path(__file__).parent / "cases"

for fact in sorted(directory.name for directory in CASES.iterdir()):
    locals()[fact] = make_fact_tests("ingot.facts", fact, CASES / fact)
