"""The engine's container of this host: started anew, waited for, removed."""

from __future__ import annotations

import subprocess
from typing import Optional

from ingot.engines.replica_watch import calls

#: How long an engine may take to end before it is killed, seconds: its requests are lost already.
GRACE_S = 10
#: Longer than Docker takes on a busy host, seconds.
LIMIT_S = 120
#: Lines of the log that are kept of the last one.
LINES = 400


class Container:
    """One service of the Compose project."""

    def __init__(self, compose: str, service: str, name: str, log: str) -> None:
        self.compose, self.service, self.name, self.log = compose, service, name, log
        self._waits: Optional[subprocess.Popen[bytes]] = None  # noqa: UP045 (python 3.9)

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._waits is not None and self._waits.poll() is None

    def start(self) -> None:
        """Start it; where that fails it does not run."""
        up = ("up", "--detach", "--no-build", "--pull", "never", "--no-deps", "--force-recreate", self.service)
        said = calls.run("docker", "compose", "--file", self.compose, *up, limit_s=LIMIT_S)
        if calls.run("docker", "start", self.name, limit_s=LIMIT_S, must_succeed=True) is None:
            print(f"<3>{self.service} was not started: {(said or 'Docker did not answer').strip()[-500:]}", flush=True)
            return
        self._waits = subprocess.Popen(
            ("docker", "wait", self.name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def remove(self) -> bool:
        """Have no such container; whether that is so."""
        calls.run("docker", "stop", "--time", str(GRACE_S), self.name, limit_s=LIMIT_S)
        if self._waits is not None:
            # Its last words go with it.
            words = f"docker logs --tail {LINES} {self.name} >{self.log}.new 2>&1; mv {self.log}.new {self.log}"
            calls.run("sh", "-c", f"umask 077; {words}", limit_s=LIMIT_S)
        calls.run("docker", "rm", "--force", self.name, limit_s=LIMIT_S)
        if self._waits is not None:
            self._waits.kill()
            self._waits.wait()
            self._waits = None
        listed = calls.run("docker", "ps", "--all", "--format", "{{.Names}}", must_succeed=True)
        return listed is not None and self.name not in listed.split()
