"""The hardware that was ordered, as people write it: "8 x H100 80GB", "2 TB", "8 x 3.84 TB NVMe", "400 Gb/s"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Makers and product lines that some people write and others leave out.
_FILLER = frozenset({"nvidia", "geforce", "tesla", "gpu", "gpus", "of", "memory"})
_COUNT = re.compile(r"^\s*([0-9]{1,3})\s*[x×*]\s*(?=\S)(.+)$", re.IGNORECASE)
_AMOUNT = re.compile(r"([0-9]{1,6}(?:[.,][0-9]{1,3})?)\s*([kmgtp]i?b?)(?![a-z0-9])", re.IGNORECASE)
_RATE = re.compile(r"^([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(g|m|t)(?:b(?:it)?(?:/s|ps|e|it/s)?|be)?$", re.IGNORECASE)
_KINDS = {"nvme": "NVMe", "ssd": "SSD", "hdd": "HDD"}
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class GpusOrdered:
    """`count` GPUs of one model; `words` are lower case, `memory_gb` as in the product's name, None if not said."""

    text: str
    count: int
    words: tuple[str, ...]
    memory_gb: int | None = None

    def is_model(self, *names: str) -> bool:
        """Whether one of a device's names is the ordered model: `A10` is not `A10G`, `RTX4090` is an `RTX 4090`."""
        return any(self._matches(_words(name)) for name in names)

    def _matches(self, found: list[str]) -> bool:
        if all(any(_same(word, one) for one in found) for word in self.words):
            return True
        joined = "".join(self.words)
        return any(
            "".join(found[start:end]) == joined
            for start in range(len(found))
            for end in range(start + 1, min(start + 4, len(found)) + 1)
        )


@dataclass(frozen=True, slots=True)
class DisksOrdered:
    """`count` disks of one size; `kind` is NVMe, SSD, HDD, or None where any will do."""

    text: str
    count: int
    size_bytes: int
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class LinksOrdered:
    """`count` network links of a rate in bits per second, or faster."""

    text: str
    count: int
    bits: int


@dataclass(frozen=True, slots=True)
class MemoryOrdered:
    """Main memory in bytes: modules are sold in powers of two, so that "2 TB" is 2 TiB."""

    text: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was ordered; a part that nobody stated is empty."""

    gpus: tuple[GpusOrdered, ...] = ()
    memory: MemoryOrdered | None = None
    disks: tuple[DisksOrdered, ...] = ()
    network: tuple[LinksOrdered, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gpus or self.memory or self.disks or self.network)


def parse(stated: Mapping[str, str]) -> Expectation:
    """The `expect:` of a host file. Raises: ValueError that names the expected spelling."""
    return Expectation(
        gpus=parse_gpus(stated["gpus"]) if stated.get("gpus") else (),
        memory=parse_memory(stated["memory"]) if stated.get("memory") else None,
        disks=parse_disks(stated["disks"]) if stated.get("disks") else (),
        network=parse_network(stated["network"]) if stated.get("network") else (),
    )


def parse_gpus(text: str) -> tuple[GpusOrdered, ...]:
    """`8 x H100 80GB`, `RTX 4090`, `4xA10G + 2xL4`. Raises: ValueError."""
    return tuple(_gpus(part) for part in _parts(text))


def parse_memory(text: str) -> MemoryOrdered:
    """`2 TB`, `1.5TiB`, `16 x 64 GB`. Raises: ValueError."""
    count, rest = _counted(text)
    size = _single_amount(rest, "write it as 2 TB or 512 GB", binary=True)
    return MemoryOrdered(text.strip(), count * size)


def parse_disks(text: str) -> tuple[DisksOrdered, ...]:
    """`8 x 3.84 TB NVMe`, `2 x 960 GB SSD + 8 x 7.68TB NVMe`. Raises: ValueError."""
    return tuple(_disks(part) for part in _parts(text))


def parse_network(text: str) -> tuple[LinksOrdered, ...]:
    """`400 Gb/s`, `8 x 400G`, `2x25GbE + 100 Gbit/s`. Raises: ValueError."""
    return tuple(_links(part) for part in _parts(text))


def _gpus(part: str) -> GpusOrdered:
    count, rest = _counted(part)
    sizes = _AMOUNT.findall(rest)
    words = tuple(word for word in _words(_AMOUNT.sub(" ", rest)) if word not in _FILLER)
    if not any(len(word) > 1 for word in words) or len(sizes) > 1 or count < 1:
        raise ValueError(f"{part.strip()!r} names no GPU; write it as 8 x H100 80GB")
    memory = round(float(sizes[0][0].replace(",", "."))) if sizes else None
    return GpusOrdered(part.strip(), count, words, memory)


def _disks(part: str) -> DisksOrdered:
    count, rest = _counted(part)
    size = _single_amount(rest, "write it as 8 x 3.84 TB NVMe", binary=False)
    kinds = {_KINDS[word] for word in _words(_AMOUNT.sub(" ", rest)) if word in _KINDS}
    if len(kinds) > 1 and "SSD" in kinds:
        kinds.discard("SSD")  # "NVMe SSD" is an NVMe drive.
    if len(kinds) > 1 or count < 1:
        raise ValueError(f"{part.strip()!r} is of no one kind; write it as 8 x 3.84 TB NVMe")
    return DisksOrdered(part.strip(), count, size, kinds.pop() if kinds else None)


def _links(part: str) -> LinksOrdered:
    count, rest = _counted(part)
    match = _RATE.match(rest.strip())
    if not match or count < 1:
        raise ValueError(f"{part.strip()!r} is no link rate; write it as 400 Gb/s or 8 x 400 Gb/s")
    return LinksOrdered(part.strip(), count, round(float(match.group(1)) * 1000 ** _POWERS[match.group(2).lower()]))


def _single_amount(text: str, remedy: str, *, binary: bool) -> int:
    """The one size in a text, in bytes; `TiB` is always 1024-based, `TB` as `binary` says."""
    sizes = _AMOUNT.findall(text)
    if len(sizes) != 1:
        raise ValueError(f"{text.strip()!r} states no one size; {remedy}")
    number, unit = sizes[0]
    base = 1024 if binary or unit[1:2].lower() == "i" else 1000
    factor: int = base ** _POWERS[unit[0].lower()]
    return round(float(number.replace(",", ".")) * factor)


def _counted(text: str) -> tuple[int, str]:
    match = _COUNT.match(text)
    return (int(match.group(1)), match.group(2)) if match else (1, text)


def _parts(text: str) -> Iterator[str]:
    for part in re.split(r"\s*(?:\+|;|\band\b)\s*", text.strip()):
        if not part:
            raise ValueError(f"{text!r} has an empty part; leave the + out")
        yield part


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _same(ordered: str, found: str) -> bool:
    """The words of a product name; `SXM` stands for every generation of SXM."""
    return ordered == found or (ordered == "sxm" and found.startswith("sxm"))
