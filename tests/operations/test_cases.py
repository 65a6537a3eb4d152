"""Operations that have nothing to do, by pyinfra's own harness: a directory per operation, a file per behaviour."""

from pathlib import Path
from unittest.mock import patch

# The harness imports pyinfra's command line, which makes every socket and thread of this process gevent's.
with patch("gevent.monkey.patch_all"):
    from pyinfra_testing.operations import make_operation_tests

CASES = Path(__file__).parent / "cases"

for operation in sorted(directory.name for directory in CASES.iterdir()):
    locals()[operation] = make_operation_tests("ingot.operations", operation, CASES / operation)
