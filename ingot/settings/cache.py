"""Section "cache": the models on a host's disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from ingot.settings.kinds import Expected, HostPath, LocalPath, Port, Section, Switch, Wrong, pattern, refuse

#: A time as systemd's OnCalendar has it; systemd itself judges the rest when the timer is written.
Calendar = Annotated[str, *pattern(r"[\w.,:*~/ +-]+", "a time as systemd has it, such as 'Sun 01:00'")]

_DISK = "a disk by its lasting name such as '/dev/disk/by-id/nvme-…'"
Disk = Annotated[str, *pattern(r"/dev/disk/by-id/[\w.:+=@-]+", _DISK)]


def _several(value: object) -> object:
    """One disk as a list of one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Cache(Section):
    """Where models lie on a host, the token that gated ones need, and when they are read again."""

    cache_disk: Annotated[
        Annotated[tuple[Disk, ...], Field(min_length=1)] | None,
        BeforeValidator(_several),
        Expected(f"{_DISK}, a list of such disks, or None"),
    ]
    cache_bandwidth_mb_s: Annotated[
        Annotated[int, Field(ge=1)] | None, Expected("whole megabytes per second from 1 on, or None")
    ]
    cache_hub_token_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    cache_images: Switch
    cache_mount: Annotated[HostPath | None, Expected("a mount point of the host such as '/data', or None")]
    cache_peer_port: Annotated[Port | None, Expected("a TCP port from 1 to 65535, or None")]
    cache_root: HostPath
    cache_scrub: Annotated[Calendar | None, Expected("a time as systemd has it, such as 'Sun 01:00', or None")]
    cache_swarm_port: Annotated[Port | None, Expected("a TCP port from 1 to 65535, or None")]

    @model_validator(mode="after")
    def _ports_go_together(self) -> Self:
        refuse("cache", self._wrong())
        return self

    def _wrong(self) -> Iterator[Wrong]:
        if self.cache_swarm_port and not self.cache_peer_port:
            yield Wrong(("cache_swarm_port",), self.cache_swarm_port, "None while cache_peer_port is None")
        elif self.cache_swarm_port and self.cache_swarm_port == self.cache_peer_port:
            yield Wrong(("cache_swarm_port",), self.cache_swarm_port, "another port than cache_peer_port")
