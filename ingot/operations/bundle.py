"""Files for a script on the host, as one string for its standard input."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping


def pack(members: Mapping[str, bytes]) -> str:
    """Base64 of a tar.gz with these files, readable by their owner only; the same files give the same string.

    Unpack it with `base64 -d | tar -xz --no-same-owner -C DIRECTORY`.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(content))
    return base64.b64encode(gzip.compress(packed.getvalue(), mtime=0)).decode()
