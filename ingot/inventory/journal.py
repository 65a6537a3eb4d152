"""What a run did to a host, kept on this machine beside the inventory's secrets: a line when it begins and ends."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.host import Host

from ingot.runs import told
from ingot.runs.run import Run, now
from ingot.secrets import files, keys
from ingot.settings import WrongValues, section
from ingot.settings.secrets import Secrets

#: Below the secrets directory of an inventory: a file per host.
DIRECTORY = "history"
#: A larger file makes way for a new one; one old one is kept.
LARGEST_BYTES = 4 << 20
#: Sentences and names of one record; more are counted.
MOST = 60


def begun(host: Host, run: Run) -> None:
    """Note that a run holds a host."""
    _append(host, {"event": "begin", "run": run.to_dict()})


def ended(host: Host, run: Run) -> Mapping[str, Any]:
    """Note how a run of a host ended; returns that record."""
    result, why = _result(host)
    record = {
        "event": "end",
        "run": run.id,
        "at": now(),
        "result": result,
        **({"why": why} if why else {}),
        "operations": _some(_changed(host)),
        "changes": _some(told.changes(host)),
    }
    _append(host, record)
    return record


def file_of(host: Host) -> Path | None:
    """Where this machine keeps the history of a host; None where its values do not say whose secrets it has."""
    try:
        configured = section(host, Secrets).secrets_dir
    except WrongValues:
        return None
    # pyinfra's last group of a host is the inventory file's name.
    return (
        keys.secrets_dir(configured, host.groups[-1] if host.groups else "inventory") / DIRECTORY / f"{host.name}.jsonl"
    )


def _result(host: Host) -> tuple[str, str]:
    stated = told.conclusion(host)
    if stated:
        return stated
    if host in host.state.failed_hosts:
        return "failed", " ".join(told.refusals(host))[:600] or "an operation failed; its words are in the run's output"
    if any(not host.state.get_op_data_for_host(host, one).operation_meta.is_complete() for one in host.op_hash_order):
        return "interrupted", "the run ended before its last operation"
    return "done", ""


def _changed(host: Host) -> list[str]:
    """The names of the operations that changed the host, in their order."""
    names = []
    for one in host.op_hash_order:
        meta = host.state.get_op_data_for_host(host, one).operation_meta
        if meta.is_complete() and meta.executed:
            names.append(" ".join(sorted(host.state.get_op_meta(one).names)))
    return names


def _some(lines: Sequence[str]) -> list[str]:
    listed = [line[:200] for line in lines]
    return [*listed[:MOST], *([f"and {len(listed) - MOST} more"] if len(listed) > MOST else [])]


def _append(host: Host, record: Mapping[str, Any]) -> None:
    path = file_of(host)
    if path is None:
        return
    try:
        _write(path, json.dumps(record) + "\n")
    except OSError as error:
        # The host has its own; a disk that is full here must not stop a run there.
        logger.warning(f"{host.print_prefix}{host.name}: {path} could not be written ({error.strerror}); mend that.")


def _write(path: Path, line: str) -> None:
    files.private_directory(path.parent)
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        path.replace(path.with_suffix(".jsonl.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
