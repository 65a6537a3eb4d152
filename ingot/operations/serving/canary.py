"""The canary of a rollout is observed: do its replicas go on serving, and how do its callers fare?"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pyinfra import logger
from pyinfra.context import host

from ingot.engines import Service
from ingot.facts.access_log import AccessLogMark, AccessLogSince, LogMark, Served
from ingot.facts.engine import EngineLook, EngineState
from ingot.operations.gateway.log import LOG
from ingot.operations.serving.rollout import SLICE_S, Lost, ask
from ingot.settings.rollout import Rollout


def observe(values: Rollout, wanted: Sequence[Service]) -> str | None:
    """Watch the host in context for `rollout_canary_hold_s`. Returns: None, or what went wrong and what that means.

    The share of failed requests is that of the gateway's log on this host; where nobody asks, it is 0.
    """
    hold_s = values.rollout_canary_hold_s
    if not hold_s:
        return None
    logger.info(f"{host.print_prefix}{host.name} is the canary: it is observed for {hold_s} s")
    try:
        mark: LogMark | None = ask(AccessLogMark, log=LOG)
        end = time.monotonic() + hold_s
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_S))
            seen: Served | None = ask(AccessLogSince, log=LOG, mark=mark)
        found: EngineState = ask(EngineLook)
    except Lost:
        return "the connection was lost while this canary was observed, so nobody knows how it fares; deploy again."
    trouble = _trouble(values, seen or Served(), found, wanted)
    if trouble is None:
        asked = f"{seen.failed} of {seen.requests} requests failed" if seen and seen.requests else "nobody asked it"
        logger.info(f"{host.print_prefix}{host.name} is well after {hold_s} s: {asked}")
    return trouble


def _trouble(values: Rollout, seen: Served, found: EngineState, wanted: Sequence[Service]) -> str | None:
    """What speaks against the canary. Pure."""
    after = f"within {values.rollout_canary_hold_s} s"
    if seen.share > values.rollout_canary_error_share:
        return (
            f"{seen.failed} of {seen.requests} requests to this canary got 5xx {after}, expected a share of at most "
            f"{values.rollout_canary_error_share:g} (rollout_canary_error_share); what served before was brought back, "
            f"read {LOG} on the host, and deploy again."
        )
    well = {one.service for one in found.containers if one.healthy}
    gone = [one.name for one in wanted if one.name not in well]
    if gone:
        return (
            f"{', '.join(gone)} of this canary stopped serving {after}; what served before was brought back, read "
            "`docker logs` of it on the host, and deploy again."
        )
    return None
