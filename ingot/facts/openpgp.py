"""The primary keys of a keyring, without gpg: a host whose apt verifies with sqv need not have it.

Source: RFC 9580, sections 4.2 (packets), 5.5.4 (fingerprints) and 6 (armor).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

_ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
_PRIMARY_KEY = 6


def fingerprints(keyring: bytes) -> tuple[str, ...]:
    """The fingerprints of the primary keys, in their order; none at all where a part of the file cannot be read."""
    try:
        blocks = [_dearmored(block) for block in _ARMOR.findall(keyring)] or [keyring]
        return tuple(_fingerprint(body) for block in blocks for tag, body in _packets(block) if tag == _PRIMARY_KEY)
    except (ValueError, IndexError, binascii.Error):
        return ()


def _dearmored(block: bytes) -> bytes:
    """The binary content: after the headers and their empty line, before the checksum."""
    _, _, body = block.replace(b"\r", b"").partition(b"\n\n") if b":" in block else (b"", b"", block)
    lines = (line.strip() for line in body.splitlines())
    return base64.b64decode(b"".join(line for line in lines if not line.startswith(b"=")), validate=True)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and bodies. Raises: ValueError for what is no packet, or one of unknown length."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise ValueError("no packet")
        if head & 0x40:
            tag, first = head & 0x3F, data[at + 1]
            if first < 192:
                length, begin = first, at + 2
            elif first < 224:
                length, begin = ((first - 192) << 8) + data[at + 2] + 192, at + 3
            elif first == 255:
                length, begin = int.from_bytes(data[at + 2 : at + 6]), at + 6
            else:
                raise ValueError("a packet of unknown length")
        else:
            tag, size = head >> 2 & 0x0F, (1, 2, 4, 0)[head & 3]
            if not size:
                raise ValueError("a packet of unknown length")
            length, begin = int.from_bytes(data[at + 1 : at + 1 + size]), at + 1 + size
        at = begin + length
        if at > len(data):
            raise ValueError("a packet that is cut off")
        yield tag, data[begin:at]


def _fingerprint(body: bytes) -> str:
    if body[0] == 4:
        # SHA-1 is what version 4 is defined with; nothing rests on its resistance to collisions here.
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body, usedforsecurity=False).hexdigest().upper()
    if body[0] == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4) + body).hexdigest().upper()
    raise ValueError(f"a key of version {body[0]}")
