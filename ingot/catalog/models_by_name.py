"""Models by name, each made of its entry when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ingot.sizing.request import Model


class Models(Mapping[str, Model]):
    """Models over others: `make` says what a name of `names` is, and is asked once for each.

    A run needs the few models that it serves; reading the architecture of every other would be most of what its
    settings cost.
    """

    def __init__(self, names: Mapping[str, object], make: Callable[[str], Model], over: Mapping[str, Model]) -> None:
        self._names, self._make, self._over = names, make, over
        self._made: dict[str, Model] = {}

    def __getitem__(self, name: str) -> Model:
        """Raises: KeyError for a name that is in no catalog; whatever `make` raises."""
        if name not in self._names:
            return self._over[name]
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names or name in self._over

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._over, *self._names)))

    def __len__(self) -> int:
        return sum(1 for _ in self)
