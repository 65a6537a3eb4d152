"""Simulated: a kernel module file that holds nothing but its description, for the real modinfo and depmod to read."""

import struct


def module_file(name: str, version: str, license_: str, release: str) -> bytes:
    """An ELF relocatable with one .modinfo section (version, license, name, vermagic, PCI aliases)."""
    fields = {"version": version, "license": license_, "name": name, "vermagic": f"{release} SMP mod_unload"}
    aliases = ["pci:v000010DEd*sv*sd*bc03sc00i00*", "pci:v000010DEd*sv*sd*bc03sc02i00*"]
    lines = [f"{key}={value}" for key, value in fields.items()]
    if name in ("nvidia", "nouveau"):
        lines += [f"alias={alias}" for alias in aliases]
    # The leading NUL lets a reader search for "\\0version=" without meeting "srcversion=".
    modinfo = b"\0" + b"".join(line.encode() + b"\0" for line in lines)
    names = b"\0.modinfo\0.symtab\0.strtab\0.shstrtab\0"
    symbols, strings = bytes(24), b"\0"
    sections: list[tuple[int, int, bytes, int, int]] = [
        (names.index(b".modinfo"), 1, modinfo, 0, 0),
        (names.index(b".symtab"), 2, symbols, 3, 24),
        (names.index(b".strtab"), 3, strings, 0, 0),
        (names.index(b".shstrtab"), 3, names, 0, 0),
    ]
    body, headers, offset = b"", bytes(64), 64
    for name_offset, kind, data, link, entry_size in sections:
        headers += struct.pack("<IIQQQQIIQQ", name_offset, kind, 0, 0, offset, len(data), link, 0, 1, entry_size)
        body += data
        offset += len(data)
    padding = -offset % 8
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, offset + padding, 0, 64, 0, 0, 64, len(sections) + 1, len(sections)
    )
    return header + body + bytes(padding) + headers
