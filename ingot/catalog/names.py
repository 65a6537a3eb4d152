"""Names as people type them, in any spelling: a hub's, a driver's, a shop's; or the nearest three are offered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ingot.sizing.errors import CatalogError
from ingot.sizing.request import Model

#: Words of a GPU's name that tell nothing apart.
_MAKER = re.compile(r"nvidia|geforce|tesla|quadro|generation|graphics|gpu")
_COUNT = re.compile(r"(?:(?P<before>\d{1,2}) ?[x×*] ?)?(?P<gpu>.+?)(?: ?[x×*] ?(?P<after>\d{1,2}))?")
#: The memory that shops put behind a name; drivers report a little less of it.
_MEMORY = re.compile(r"(?P<gpu>.+?)[ -](?P<gib>\d{1,3}) ?gi?b")
_SHOP_SAYS_MORE = 1.13


@dataclass(frozen=True, slots=True)
class CardNames:
    """What one GPU is called: by its driver, and by people beside that; `memory_gib` tells its sizes apart."""

    driver: str
    memory_gib: float
    also: tuple[str, ...] = ()


def find_model(name: str, models: Mapping[str, Model]) -> tuple[Model, str | None]:
    """The model that a name means, its own or a hub's in any spelling, and the variant where the name is of one.

    The repository of a model's best variant names the model. Raises: CatalogError with the nearest three.
    """
    if name in models:
        return models[name], None
    wanted = _plain(name)
    for model in models.values():
        if _plain(model.name) == wanted:
            return model, None
    for model in models.values():
        for index, variant in enumerate(model.variants):
            if wanted in (_plain(variant.repository), _plain(variant.repository.rpartition("/")[2])):
                return model, None if index == 0 else variant.name
    raise CatalogError(f"{name!r} is no model of the catalog{nearest(name, models)}")


def nearest(name: str, models: Mapping[str, Model]) -> str:
    """The end of a sentence that offers the three models whose names or repositories are most like this one."""
    offered = {_plain(model.name): model.name for model in models.values()}
    for model in models.values():
        for variant in model.variants:
            offered.setdefault(_plain(variant.repository.rpartition("/")[2]), model.name)
    return _offer(_plain(name.rpartition("/")[2]), offered)


def find_gpus(name: str, cards: Mapping[str, CardNames]) -> tuple[str, int] | None:
    """The catalog's key of a GPU and how many of it a name means, such as `rtx4090x2`, `2x RTX 4090`, `4090`,
    `RTX 4090 24GB`, or what `nvidia-smi` prints; None where it means none. `cards` are by key."""
    match = _COUNT.fullmatch(" ".join(name.lower().split()))
    if match is None:
        return None
    count = int(match["before"] or match["after"] or 1)
    if not 1 <= count <= 64 or (match["before"] and match["after"]):
        return None
    by_name: dict[str, str] = {}
    for key, card in cards.items():
        for spelling in (key, card.driver, *card.also):
            by_name.setdefault(_bare(spelling), key)
        # A shop's number, where one card has it.
        number = re.search(r"\d{4}(?:ti)?$", _bare(key))
        if number:
            by_name.setdefault(number.group(), key)
    found = by_name.get(_bare(match["gpu"]))
    sized = _MEMORY.fullmatch(match["gpu"])
    if found is None and sized:
        # Keys have `40g` where shops have `40GB`; where a name is of one size alone, the size only has to be true.
        bare = _bare(sized["gpu"])
        found = by_name.get(f"{bare}{sized['gib']}g") or by_name.get(bare)
        if (
            found
            and not cards[found].memory_gib * 0.99 <= int(sized["gib"]) <= cards[found].memory_gib * _SHOP_SAYS_MORE
        ):
            found = None
    return (found, count) if found else None


def nearest_gpus(name: str, cards: Mapping[str, CardNames]) -> str:
    """The end of a sentence that offers the three GPUs whose names are most like this one."""
    match = _COUNT.fullmatch(" ".join(name.lower().split()))
    wanted = _bare(match["gpu"] if match else name)
    return _offer(wanted, {_bare(text): key for key, card in cards.items() for text in (card.driver, key)})


def _offer(wanted: str, offered: Mapping[str, str]) -> str:
    """The most alike, those of the same family before others."""
    family = re.match(r"[a-z]*", wanted)
    first = family.group() if family else ""
    alike = get_close_matches(wanted, list(offered), n=len(offered), cutoff=0.1)
    alike.sort(key=lambda text: (not text.startswith(wanted), not (first and re.match(rf"{first}(?![a-z])", text))))
    close: list[str] = []
    for text in alike:
        if offered[text] not in close:
            close.append(offered[text])
    if len(close) == 1:
        return f"; the nearest is {close[0]}"
    return f"; the nearest are {_listed(close[:3])}" if close else ""


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", _MAKER.sub("", name.lower()))
