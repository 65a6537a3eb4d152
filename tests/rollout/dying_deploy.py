"""`pyinfra` that dies at one of its side effects: `dying_deploy.py POINT EFFECTS ARGUMENT-OF-PYINFRA …`.

A side effect is a command of an operation, questions are none. Each appends its operation's name to the file EFFECTS.
At POINT 2N the process is killed before its effect N (counted from 0), at 2N+1 when that was sent and is under way; a
negative POINT lets it live.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

# It patches what it must before anything else is imported.
from pyinfra_cli.main import main  # isort: skip
from pyinfra.connectors import ssh
from pyinfra.connectors.ssh import SSHConnector

point, effects = int(sys.argv[1]), Path(sys.argv[2])
run_command, read_output = SSHConnector.run_shell_command, ssh.read_output_buffers
#: Effects so far, and whether the command that is being sent is one to die under.
seen, dies = [], []


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run(self, *args, **arguments):
    asked = any(frame.filename.endswith("pyinfra/api/facts.py") for frame in traceback.extract_stack())
    if self.state.is_executing and not asked and self.host.executing_op_hash:
        names = ", ".join(self.state.get_op_meta(self.host.executing_op_hash).names)
        with effects.open("a") as file:
            file.write(f"{names}\n")
        if point == 2 * len(seen):
            die()
        if point == 2 * len(seen) + 1:
            dies.append(names)
        seen.append(names)
    return run_command(self, *args, **arguments)


def read(*args, **arguments):
    if dies:
        die()
    return read_output(*args, **arguments)


SSHConnector.run_shell_command, ssh.read_output_buffers = run, read
sys.argv = ["pyinfra", *sys.argv[3:]]
sys.exit(main())
