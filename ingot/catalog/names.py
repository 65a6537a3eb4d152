"""Names as people type them, in any spelling: a hub's, a driver's, a shop's; or the nearest three are offered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ingot.sizing.errors import CatalogError
from ingot.sizing.request import Model

#: Words of a GPU's name that tell nothing apart.
_MAKER = re.compile(r"nvidia|geforce|tesla|quadro|generation|graphics|gpu")
_COUNT = re.compile(r"(?:(?P<before>\d{1,2}) ?[x×*] ?)?(?P<gpu>.+?)(?: ?[x×*] ?(?P<after>\d{1,2}))?")


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


def find_gpus(name: str, names: Mapping[str, str]) -> tuple[str, int] | None:
    """The catalog's key of a GPU and how many of it a name means, such as `rtx4090x2`, `2x RTX 4090`, `4090`, or what
    `nvidia-smi` prints; None where it means none. `names` are drivers' names by key."""
    match = _COUNT.fullmatch(" ".join(name.lower().split()))
    if match is None:
        return None
    count = int(match["before"] or match["after"] or 1)
    if not 1 <= count <= 64 or (match["before"] and match["after"]):
        return None
    wanted = _bare(match["gpu"])
    by_name: dict[str, str] = {}
    for key, driver in names.items():
        by_name.setdefault(_bare(key), key)
        by_name.setdefault(_bare(driver), key)
        # A shop's number, where one card has it.
        number = re.search(r"\d{4}(?:ti)?$", _bare(key))
        if number:
            by_name.setdefault(number.group(), key)
    found = by_name.get(wanted)
    return (found, count) if found else None


def nearest_gpus(name: str, names: Mapping[str, str]) -> str:
    """The end of a sentence that offers the three GPUs whose names are most like this one."""
    return _offer(_bare(name), {_bare(text): key for key, driver in names.items() for text in (driver, key)})


def _offer(wanted: str, offered: Mapping[str, str]) -> str:
    close: list[str] = []
    for text in get_close_matches(wanted, list(offered), n=30, cutoff=0.1):
        if offered[text] not in close:
            close.append(offered[text])
    return f"; the nearest are {_listed(close[:3])}" if close else ""


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", _MAKER.sub("", name.lower()))
