"""How long the fleet page takes to write, and how large it is: hosts of eight H100 with an acceptance of an hour each.

    .venv/bin/python benchmarks/fleet_page.py

The targets are 3 seconds and 5 MB for 200 hosts.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingot.report import fleet_page
from tests.report.fleets import fleet

COUNTS = (10, 50, 200)
TARGET_S, TARGET_BYTES = 3.0, 5 * 1000**2


def main() -> int:
    print("| hosts | s | MB |\n| --- | --- | --- |")
    seconds, size = 0.0, 0
    for count in COUNTS:
        made = fleet(count)
        began = time.process_time()
        size = len(fleet_page.render(made).encode())
        seconds = time.process_time() - began
        print(f"| {count} | {seconds:.2f} | {size / 1000**2:.2f} |")
    return int(seconds > TARGET_S or size > TARGET_BYTES)


if __name__ == "__main__":
    sys.exit(main())
