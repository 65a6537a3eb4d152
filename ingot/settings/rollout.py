"""Section "rollout": how the replicas of a host and of a fleet are replaced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ingot.settings.kinds import Count, Expected, SecondsOrNone, Section, Switch


class Rollout(Section):
    """The canary, what may be missing or fail meanwhile, and what becomes of callers where nothing can stay."""

    rollout_canary: Switch
    rollout_canary_error_share: Annotated[
        Annotated[float, Field(ge=0, le=1)], Expected("a share of requests between 0 and 1 such as 0.01")
    ]
    rollout_canary_hold_s: SecondsOrNone
    rollout_max_failures: Count
    rollout_min_healthy: Annotated[
        Annotated[int, Field(ge=0)] | None, Expected("a whole number of replicas from 0 on, or None")
    ]
    rollout_outage: Annotated[
        Literal["declared", "other-hosts", "spare-gpus"], Expected("'declared', 'other-hosts' or 'spare-gpus'")
    ]
    rollout_warm_up: Switch
