"""The rules by which hosts share a model (models.sh), run for many hosts at once: a process each, files for a network.

What is run is the script's own text from `asked_peers` to `obtain`; only the request to a peer is another: it reads
what that peer would answer from a directory. So the number of copies from outside is the script's doing, for any number
of hosts; times are not those of a network.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ingot.operations.weights import models, peers

_BEGIN, _END = "# Whom this round asks", "# Asks one source after the other"
#: $1 is where the hosts are, $2 the host's name; what is asked for is a file of no size.
_HOST = r"""set -u
tab=$(printf '\t') fleet=$1 work=$1/$2 promise_s=600 turn_s=0.2 several=3 swarm= sha=- git=-
me=$2 lead=$1/$2/leads part=$1/$2/part bytes=0
size() { echo 0; }
good() { true; }
quarantine() { exit 3; }
ask() {
  code=404
  if [ -e "$fleet/$1/have.$path" ]; then code=200
  elif [ -e "$fleet/$1/leads" ]; then code=503
  elif [ -e "$fleet/$1/wants" ]; then code=409; fi
  rounds=$((rounds + 1))
}
@rules@
rounds=0
mkdir -p "$work/notes"
: >"$work/error"
: >"$work/wants"
error=$work/error
for path in @files@; do
  number=${path#f}
  from_peers >/dev/null || { echo "$path" >>"$fleet/outside"; sleep 0.3; }
  : >"$work/have.$path"
done
rm -f "$work/wants" "$work/leads"
echo "$rounds" >"$work/asked"
"""


def outside(directory: Path, hosts: int, files: int) -> tuple[float, float]:
    """How many copies come from outside when so many hosts begin at once, and how often a host asks a peer per file."""
    rules = models.SCRIPT[models.SCRIPT.index(_BEGIN) : models.SCRIPT.index(_END)]
    script = _HOST.replace("@rules@", rules).replace("@files@", " ".join(f"f{one}" for one in range(files)))
    (directory / "host.sh").write_text(script)
    known = [peers.Peer(index, f"gpu-{index:03}", "") for index in range(hosts)]
    for one in known:
        home = directory / one.name
        home.mkdir()
        text = peers.plan_text(known, one.name, 0)
        (home / "plan").write_text(text)
        (home / "peers").write_text("".join(line for line in text.splitlines(True) if line.startswith("peer")))
    (directory / "outside").touch()
    running = [
        subprocess.Popen(["sh", str(directory / "host.sh"), str(directory), one.name], stdout=subprocess.DEVNULL)
        for one in known
    ]
    assert [one.wait(timeout=1200) for one in running] == [0] * hosts
    asked = sum(int((directory / one.name / "asked").read_text()) for one in known)
    return len((directory / "outside").read_text().splitlines()) / files, asked / hosts / files


if __name__ == "__main__":
    import sys
    import tempfile

    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as made:
            copies, asked = outside(Path(made), count, 8)
            print(f"{count} hosts: {copies:.2f} copies from outside, {asked:.0f} questions of a host for a file, "
                  f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
