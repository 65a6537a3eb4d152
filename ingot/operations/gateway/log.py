"""The gateway's log of requests: what is in it, where it lies, how it is rotated."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.gateway.upstreams import Engine
from ingot.operations import logs, render, tree

DIRECTORY = f"{logs.ROOT}/gateway"
LOG = f"{DIRECTORY}/access.jsonl"
#: What requests came to at engines that do not write it down themselves.
TOKENS = f"{DIRECTORY}/tokens.jsonl"
ROTATION = "/etc/logrotate.d/ingot-gateway"
#: nginx opens its logs while a configuration is tested, before anything is installed.
BEFORE_TEST = f"mkdir -p {DIRECTORY}"
_REOPEN = logs.Reopen("www-data", "adm", '[ ! -s /run/nginx.pid ] || kill -USR1 "$(cat /run/nginx.pid)"')


def log_conf(served: Sequence[Engine]) -> str:
    """The format of the log, and where nginx writes it."""
    known = served[0].model if len(served) == 1 else ""
    models = [("default", known), *((engine.name, engine.model) for engine in served)]
    return render.template("gateway/log.conf", models=models, log=LOG, tokens=any(one.engine for one in served))


def places(keep_days: int, *, tokens: bool = False) -> list[tree.Entry]:
    """The log's directory, which nginx' workers pass when they open a new file, and its rotation.

    `tokens`: there is a second log, of what requests came to.
    """
    files = f"{LOG} {TOKENS}" if tokens else LOG
    return [
        tree.Dir(logs.ROOT),
        tree.Dir(DIRECTORY, group="www-data", mode="0750"),
        tree.File(ROTATION, logs.rotation(files, "roles/gateway.py", keep_days, _REOPEN)),
    ]
