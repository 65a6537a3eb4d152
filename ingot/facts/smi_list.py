"""`nvidia-smi -L`: GPUs and the MIG instances on them, with their UUIDs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.facts.errors import ParseError

_GPU = re.compile(r"^GPU ([0-9]{1,3}): (.*?)(?: \(UUID: ([^)]*)(\)?))?$")
_WHOLE_UUID = re.compile(r"^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
_MIG = re.compile(r"^\s*MIG (\S+)\s+Device\s+([0-9]{1,3}): \(UUID: (MIG-[^)\s]+)\)\s*$")

#: Beginning of the text that nvidia-smi prints in place of the name of a GPU that does not answer.
_SILENT = "Unable to determine"


@dataclass(frozen=True, slots=True)
class Instance:
    """One MIG instance: `profile` as the driver writes it (`3g.40gb`, `1c.3g.71gb`)."""

    index: int
    profile: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `-L` with its instances; `uuid` is None where the driver cannot tell it."""

    index: int
    name: str
    uuid: str | None
    instances: tuple[Instance, ...] = ()


def parse_list(text: str) -> tuple[Listed, ...]:
    """Every GPU listed. Lines that are neither GPU nor instance (warnings) are passed over.

    Raises: ParseError when nothing is a GPU line, or an instance belongs to no GPU.
    """
    found: list[Listed] = []
    silent = False
    for line in text.splitlines():
        gpu, mig = _GPU.match(line.strip()), _MIG.match(line)
        if gpu and gpu.group(2).startswith(_SILENT):
            silent = True
        elif gpu:
            index, name, uuid, end = gpu.groups()
            if uuid and not end and not _WHOLE_UUID.match(uuid):
                raise ParseError(f"the line of GPU {index} is torn ({line.strip()[-40:]!r}): record it again.")
            found.append(Listed(int(index), name, uuid if uuid and uuid.startswith("GPU-") else None))
        elif mig:
            if not found:
                raise ParseError(f"a MIG instance comes before any GPU: {line.strip()[:80]!r}.")
            profile, index, uuid = mig.groups()
            last = found[-1]
            instances = (*last.instances, Instance(int(index), profile, uuid))
            found[-1] = Listed(last.index, last.name, last.uuid, instances)
    if not found and not silent:
        raise ParseError("there is no line such as 'GPU 0: NVIDIA L4 (UUID: GPU-…)'.")
    return tuple(found)
