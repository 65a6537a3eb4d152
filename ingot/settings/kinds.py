"""The types that values are made of; each says in words what is expected of a value."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, LiteralString, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

T = TypeVar("T")

#: The types of errors whose message says what was expected: of a kind, and of this very value.
EXPECTED, EXPECTED_HERE = "expected", "expected_here"


class Section(BaseModel):
    """A part of the values: nothing is converted silently, and no key is unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True)
class Expected:
    """Says in `words` what a value shall be, where it is not of its type.

    Of several around one type the outermost speaks; a ValueError of a validator, and parts of a value, speak for
    themselves.
    """

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, inner: Callable[[Any], Any]) -> Any:
            try:
                return inner(value)
            except ValidationError as error:
                problems = error.errors(include_url=False)
                if any(problem["loc"] or problem["type"] == EXPECTED_HERE for problem in problems):
                    raise
                here = next((str(one["ctx"]["error"]) for one in problems if one["type"] == "value_error"), None)
                raise _error(EXPECTED_HERE, here) if here else _error(EXPECTED, self.words) from None

        return core_schema.no_info_wrap_validator_function(check, handler(source))


def _error(kind: LiteralString, words: str) -> PydanticCustomError:
    # The message is a template: braces of ours are none of its fields.
    return PydanticCustomError(kind, "{words}", {"words": words})


@dataclass(frozen=True)
class Wrong:
    """A part of a section that does not go with another: where it is, what it is, what is expected."""

    key: tuple[str | int, ...]
    value: Any
    words: str


def refuse(section: str, wrongs: Iterable[Wrong]) -> None:
    """For a section's own check of its parts. Raises: ValidationError when there is one."""
    details = [InitErrorDetails(type=_error(EXPECTED_HERE, one.words), loc=one.key, input=one.value) for one in wrongs]
    if details:
        raise ValidationError.from_exception_data(section, details)


def nearest(word: str, known: Iterable[str]) -> str:
    """What was perhaps meant, as the end of a clause; empty where nothing is near."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def pattern(regex: str, words: str) -> tuple[AfterValidator, Expected]:
    """A text that matches a pattern as a whole: `Annotated[str, *pattern(r"…", "…")]`."""
    compiled = re.compile(regex)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise _error(EXPECTED, words)
        return value

    return AfterValidator(check), Expected(words)


def either(check: Callable[[Any], bool], words: str) -> tuple[BeforeValidator, Expected]:
    """A value that `check` takes, of any type: `Annotated[int | str, *either(…, "…")]`."""

    def checked(value: Any) -> Any:
        if not check(value):
            raise _error(EXPECTED, words)
        return value

    return BeforeValidator(checked), Expected(words)


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


#: Several of one kind, written as a list.
Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), Expected("a list, written in [brackets]")]

Switch = Annotated[bool, Expected("True or False")]
Count = Annotated[int, Field(ge=1), Expected("a whole number from 1 on")]
Seconds = Annotated[int, Field(ge=1), Expected("a whole number of seconds from 1 on")]
SecondsOrNone = Annotated[int, Field(ge=0), Expected("a whole number of seconds, 0 for none")]
Days = Annotated[int, Field(ge=1), Expected("a whole number of days from 1 on")]
Bytes = Annotated[int, Field(ge=1), Expected("a whole number of bytes from 1 on")]
Port = Annotated[int, Field(ge=1, le=65535), Expected("a TCP port from 1 to 65535")]

#: A text of one line.
Text = Annotated[str, *pattern(r"[^\x00-\x1f\x7f]+", "a text of one line, in quotes")]
#: A text of one line that may be empty.
AnyText = Annotated[str, *pattern(r"[^\x00-\x1f\x7f]*", "a text of one line, in quotes")]
HostPath = Annotated[
    str,
    *pattern(
        r"(?!.*(?:^|/)\.\.?(?:/|$))(?:/+[\w.@+=,-]+)+/*",
        "an absolute path on the host such as '/srv/models', of letters, digits and . _ - + = @ ,",
    ),
]
LocalPath = Annotated[str, *pattern(r"[^\x00-\x1f\x7f]+", "a path on this machine, in quotes")]
Address = Annotated[
    str,
    *pattern(
        r"(?:mirror\+)?(?:https?|ftp|file|copy):[^\s\x00-\x1f\x7f]+", "an address such as 'https://…' or 'file:///…'"
    ),
]
Version = Annotated[str, *pattern(r"[0-9]+(?:\.[0-9]+){1,3}", "a version in quotes such as '1.20.0'")]
Sha256 = Annotated[str, *pattern(r"sha256:[0-9a-f]{64}", "'sha256:' and 64 hexadecimal digits")]
Fingerprint = Annotated[
    str,
    *pattern(
        r"\s*(?:[0-9A-Fa-f]\s*){40}(?:(?:[0-9A-Fa-f]\s*){24})?",
        "the whole fingerprint of a key: 40 hexadecimal digits, as `gpg --show-keys` prints it",
    ),
]
LogSize = Annotated[str, *pattern(r"[1-9][0-9]*(?:\.[0-9]+)?[bkmgBKMG]?", "a size as Docker writes it, such as '50m'")]
#: A number of processes, files or bytes, -1 for no limit.
Limit = Annotated[int, Field(ge=-1), Expected("a whole number, -1 for no limit")]
LimitName = Annotated[str, *pattern(r"[a-z]+", "the name of a limit such as 'nofile'")]
Limits = Annotated[dict[LimitName, Limit], Expected("limits by name such as {'nofile': 1048576}")]

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


def is_host_name(text: str) -> bool:
    """Whether callers can use a text as a host's name: a DNS name, or an IP address."""
    if _DNS_NAME.fullmatch(text.lower()):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_name(text: str) -> str:
    if not is_host_name(text):
        raise _error(EXPECTED, _HOST_NAME_WORDS)
    return text


_HOST_NAME_WORDS = "a host name (letters, digits, '-' and '.') or an IP address"
HostName = Annotated[str, AfterValidator(_host_name), Expected(_HOST_NAME_WORDS)]
