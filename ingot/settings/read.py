"""The values of a host become its settings, or one sentence for each that is wrong; no host stops another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ingot.errors import IngotError
from ingot.settings.kinds import Section, nearest
from ingot.settings.settings import NAMES, SECTIONS, Settings, conflicts

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from pyinfra.api.host import Host

#: What a host's data holds besides values: `gpus` and `expect` of its file, and what the inventory says of that file.
HOST_FILE = "inventory_file"
HOST_FILE_ERROR = "inventory_error"
BESIDES = frozenset({"expect", "gpus", HOST_FILE, HOST_FILE_ERROR})
#: How what reaches a host is called, by pyinfra's connectors and by its global arguments.
CONNECTION = ("ssh_", "_", "fake_", "winrm_", "ssm_", "docker_identifier", "docker_platform", "docker_architecture")

#: Where settings are kept for as long as the values stay as they are.
_KEPT = "ingot_settings"
_LONGEST = 80
#: Values that may hold passwords.
SECRET = ("docker_daemon", "engine_extra_env")

AnySection = TypeVar("AnySection", bound=Section)


class WrongValues(IngotError):
    """The values of a host that are wrong, one sentence each."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = tuple(sentences)


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that is wrong: its name with where in it (`serve[0].context`), and the clause that says what is wrong."""

    key: str
    clause: str
    #: Nobody gives the value at all.
    absent: bool = False

    @property
    def name(self) -> str:
        """The value's name in group_data."""
        return self.key.partition("[")[0].partition(".")[0]


def of_host(host: Host) -> Settings:
    """A host's settings.

    Raises: WrongValues, a sentence for each value that is wrong, naming host, value, what is expected and where it is
    set.
    """
    values = values_of(host)
    if kept := _kept(host, values):
        return kept
    found = parsed(values)
    if not isinstance(found, Settings):
        raise WrongValues([_sentence(host, problem) for problem in found])
    host.connector_data[_KEPT] = (values, found)
    return found


def check_given(host: Host) -> None:
    """Have a host's values right as far as they are given: who uses none of them needs none.

    Raises: WrongValues.
    """
    values = values_of(host)
    found = parsed(values)
    if isinstance(found, Settings):
        host.connector_data[_KEPT] = (values, found)
        return
    given = [problem for problem in found if not problem.absent]
    if given:
        raise WrongValues([_sentence(host, problem) for problem in given])


def section(host: Host, one: type[AnySection]) -> AnySection:
    """One section of a host's values, for whoever needs no more of a host, whatever else is wrong.

    Raises: WrongValues.
    """
    values = values_of(host)
    kept = _kept(host, values)
    if isinstance(kept, one):
        return kept
    found = _section(one, values)
    if not isinstance(found, Section):
        raise WrongValues([_sentence(host, problem) for problem in found])
    return found


def _kept(host: Host, values: Mapping[str, Any]) -> Settings | None:
    """What a host's values were read as, while they are the same."""
    kept = host.connector_data.get(_KEPT)
    if kept and kept[0] == values:
        read: Settings = kept[1]
        return read
    return None


def values_of(host: Host) -> dict[str, Any]:
    """All data of a host as pyinfra merges it: `--data` over the host's file over its groups over all."""
    values: dict[str, Any] = host.data.dict()  # type: ignore[no-untyped-call]
    return values


def parsed(values: Mapping[str, Any]) -> Settings | tuple[Problem, ...]:
    """Values as settings, or every problem that they have, in the order of group_data."""
    problems: list[Problem] = [*_unknown(values)]
    fields: dict[str, Any] = {}
    for one in SECTIONS:
        found = _section(one, values)
        if isinstance(found, Section):
            fields |= {name: getattr(found, name) for name in one.model_fields}
        else:
            problems += found
    if problems:
        return tuple(problems)
    made = Settings.model_construct(**fields)
    wrong = tuple(Problem(_key(one.key), _clause(_key(one.key), one.value, one.words)) for one in conflicts(made))
    return wrong or made


def _section(one: type[AnySection], values: Mapping[str, Any]) -> AnySection | tuple[Problem, ...]:
    try:
        return one.model_validate({name: values[name] for name in one.model_fields if name in values})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # What is said of a part need not be said of the whole.
        parts = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
        return tuple(_problem(one, problem) for problem in problems if problem["loc"] not in parts)


def _unknown(values: Mapping[str, Any]) -> Iterator[Problem]:
    for name in values:
        if name not in NAMES and name not in BESIDES and not name.startswith(CONNECTION):
            yield Problem(name, f"is no value that Ingot knows{nearest(name, NAMES)}")


def _problem(section: type[Section], error: ErrorDetails) -> Problem:
    loc, words = error["loc"], error["msg"]
    if error["type"] == "missing":
        return Problem(_key(loc), "is missing", absent=len(loc) == 1)
    if error["type"] == "extra_forbidden":
        known = _known(section, loc[:-1])
        near = nearest(str(loc[-1]), known) or f", expected one of {', '.join(known)}"
        return Problem(_key(loc), f"is no key that Ingot knows{near}")
    # pydantic says of a dictionary's key that it is one by a word of its own.
    if loc[-1] == "[key]":
        return Problem(_key(loc[:-2]), f"names {_shown(error['input'])}, expected {words}")
    return Problem(_key(loc), _clause(_key(loc), error["input"], words))


def _known(section: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys that the part of a section has at `loc`."""
    model = section
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            inner = _models_in(model.model_fields[part].annotation)
            model = inner[0] if inner else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]


def _key(loc: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _clause(key: str, value: Any, words: str) -> str:
    # What may hold a password is not shown.
    secret = key.startswith(SECRET) and value is not None
    return f"is {f'of type {type(value).__name__}' if secret else _shown(value)}, expected {words}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _sentence(host: Host, problem: Problem) -> str:
    return f"{host.name}: {problem.key} {problem.clause}; correct it in {_where(host, problem.name)}."


def _where(host: Host, name: str) -> str:
    """Where a host has a value from, in pyinfra's order; where its default belongs if nobody gives it."""
    inventory = host.inventory
    if name in inventory.get_override_data():  # type: ignore[no-untyped-call]
        return f"--data {name}=…"
    if name in inventory.get_host_data(host.name):
        file = host.data.get(HOST_FILE)
        return _short(Path(file)) if file else "the inventory"
    for group in reversed(host.groups):
        if name in inventory.get_group_data(group):  # type: ignore[no-untyped-call]
            return f"group_data/{group}.py"
    return "group_data/all.py"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
