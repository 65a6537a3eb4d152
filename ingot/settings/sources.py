"""Section "upstreams": where packages, the engine's image and models are fetched from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ingot.settings.kinds import (
    Address,
    AnyText,
    Expected,
    Fingerprint,
    Many,
    Section,
    Switch,
    Text,
    Wrong,
    pattern,
    refuse,
)
from ingot.settings.proxy import Proxy

Suite = Annotated[str, *pattern(r"[^\s\x00-\x1f\x7f]+", "the suite of a package repository, such as 'stable' or '/'")]
Distribution = Annotated[str, *pattern(r"[a-z0-9.]+", "a distribution such as 'debian13', or 'default'")]


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value


def _with_default(value: dict[str, Any]) -> dict[str, Any]:
    if "default" not in value:
        raise ValueError("one for 'default' too, for distributions that are not named")
    return value


def _by_distribution(value: Any) -> Any:
    return {"default": value} if isinstance(value, str | list | tuple) else value


#: One, or a list of those that are accepted.
Fingerprints = Annotated[
    tuple[Fingerprint, ...],
    Field(min_length=1),
    BeforeValidator(_several),
    Expected("the fingerprint of a key, or a list of them"),
]


class Repository(Section):
    """A package repository of a vendor; `{os}` and `{codename}` in it are the host's."""

    uri: Address
    suite: Suite
    component: AnyText
    key_url: Address
    key_fingerprint: Fingerprints


class DistributionRepository(Section):
    """A package repository whose key may differ between distributions: one value, or values by distribution."""

    uri: Address
    suite: Suite
    component: AnyText
    key_url: Annotated[
        dict[Distribution, Address],
        AfterValidator(_with_default),
        BeforeValidator(_by_distribution),
        Expected("an address, or addresses by distribution"),
    ]
    key_fingerprint: Annotated[
        dict[Distribution, Fingerprints],
        AfterValidator(_with_default),
        BeforeValidator(_by_distribution),
        Expected("the fingerprint of a key, or fingerprints by distribution"),
    ]


class Archive(Section):
    """The distribution's own archive, signed with its own keys; `{os}` and `{codename}` in it are the host's.

    `security_uri` has the suite with security updates, where that is another address.
    """

    uri: Address
    security_uri: Address | None = None
    check_valid_until: Switch = True


class Models(Section):
    """Where model weights come from; `uri` is an address, or a directory of this machine (kind push)."""

    kind: Annotated[Literal["hub", "mirror", "push"], Expected("'hub', 'mirror' or 'push'")]
    uri: Text


class Upstreams(Section):
    """The block `sources`; what a host does not need may be left out."""

    nvidia_driver: DistributionRepository
    nvidia_toolkit: DistributionRepository
    models: Models
    models_fallback: Annotated[Many[Models], Expected("a list of sources of models")] = ()
    distribution: Annotated[Archive | None, Expected("the archive as a {'uri': …}, or None")] = None
    docker: Repository | None = None
    nginx: Repository | None = None

    @model_validator(mode="after")
    def _can_be_asked_in_turn(self) -> Self:
        for index, one in enumerate(self.models_fallback):
            if "push" in (one.kind, self.models.kind):
                words = "sources that hosts ask themselves ('hub' or 'mirror'), in models too"
                refuse("upstreams", (Wrong(("models_fallback", index, "kind"), one.kind, words),))
        return self

    @property
    def of_models(self) -> tuple[Models, ...]:
        """The sources of models, in the order in which a host asks them for a file."""
        return (self.models, *self.models_fallback)

    @property
    def fingerprints(self) -> frozenset[str]:
        """Every key that a repository may be signed with."""
        varying = (self.nvidia_driver.key_fingerprint, self.nvidia_toolkit.key_fingerprint)
        fixed = (one.key_fingerprint for one in (self.docker, self.nginx) if one)
        return frozenset(key for keys in (*fixed, *(keys for one in varying for keys in one.values())) for key in keys)


class Sources(Section):
    """Where everything is fetched from, and through what."""

    proxy: Annotated[Proxy | None, Expected("uri, login_file, ca_file and direct, or None")]
    sources: Annotated[Upstreams, Expected("the upstreams by name")]
