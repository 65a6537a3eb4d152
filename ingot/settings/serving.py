"""Section "serving": which models a host serves, and for which workload."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ingot.catalog import entry, find_model, load_models, site
from ingot.catalog.lock import Lock, pin, unlocked
from ingot.catalog.lock import read as read_lock
from ingot.catalog.names import nearest
from ingot.engines import ENGINES, LLAMA_CPP, LLAMA_CPP_CUDA, VLLM
from ingot.settings.kinds import Count, Expected, LocalPath, Many, Section, Switch, Text, Wrong, pattern, refuse
from ingot.sizing import (
    GOALS,
    Adapter,
    CatalogError,
    EngineArguments,
    Goal,
    Kind,
    Model,
    ModelRequest,
    SizingError,
    Speculation,
    Workload,
)

#: A model as nginx' configuration, a directory's name and a URL carry it.
MODEL_NAME = re.compile(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[A-Za-z0-9._:/@-]*[A-Za-z0-9][A-Za-z0-9._:/@-]*")
ModelName = Annotated[str, *pattern(MODEL_NAME.pattern, "a model's name")]


def _described(value: dict[str, Any]) -> dict[str, Any]:
    wrong = [name for name in value if not MODEL_NAME.fullmatch(name)]
    if wrong:
        raise ValueError(f"names of models of letters, digits and . _ : / @ -, unlike {wrong[0]!r}")
    try:
        load_models(value)
    # Besides what the catalog says itself, whatever a wrong type in it comes to.
    except (SizingError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"models as docs/models.md describes them: {str(error).rstrip('.')}") from None
    return value


def _arguments(value: dict[str, Any]) -> dict[str, Any]:
    return _checked(value, lambda: entry.arguments("arguments", value, EngineArguments()))


def _speculation(value: dict[str, Any]) -> dict[str, Any]:
    return _checked(value, lambda: entry.speculation("speculation", value))


def _adapter(value: dict[str, Any]) -> dict[str, Any]:
    if not MODEL_NAME.fullmatch(str(value.get("name"))):
        raise ValueError("an adapter's name of letters, digits and . _ : / @ -")
    return _checked(value, lambda: entry.adapter("adapters", value))


def _checked(value: dict[str, Any], read: Callable[[], object]) -> dict[str, Any]:
    try:
        read()
    except CatalogError as error:
        raise ValueError(str(error).removeprefix("The catalog's ").rstrip(".")) from None
    return value


def _named(item: Any, models: Mapping[str, Model]) -> Any:
    try:
        model, variant = find_model(item["model"], models)
    except CatalogError:
        return item
    return {**item, "model": model.name, **({"variant": variant} if variant and not item.get("variant") else {})}


def service_name(model: str) -> str:
    """A model's name as Compose takes it: `Qwen/Qwen3-8B` becomes `qwen-qwen3-8b`."""
    return re.sub(r"[^a-z0-9_-]+", "-", model.lower()).strip("-_")


_SHARES = "a model, or shares from 1 to 1000 by model such as {'qwen3-32b': 9, 'qwen3-32b-next': 1}"


def _alias(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, dict) or not value or not all(isinstance(model, str) for model in value):
        raise ValueError(_SHARES)
    for share in value.values():
        if isinstance(share, bool) or not isinstance(share, int) or not 1 <= share <= 1000:
            raise ValueError(f"{_SHARES}; a share of {share!r} is none")
    return value


#: What may stand in `serve` as an engine.
EngineName = Literal[
    "vllm", "llama.cpp", "llama.cpp-cuda", "lmstudio", "ollama", "sglang", "tensorrt-llm", "tgi", "auto"
]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)

At = TypeVar("At", Speculation, Adapter)


class Serve(Section):
    """A model of the catalog and the workload that must fit."""

    model: Text
    #: Tokens of one sequence, prompt and answer together.
    context: Count
    #: Sequences at once that the host serves in all.
    concurrency: Count
    #: This many, as far as they fit, on the fewest GPUs; None: as many as serve best.
    replicas: Annotated[Count | None, Expected("a whole number from 1 on, or None for as many as serve best")] = None
    #: What serves best: the most tokens/s at this concurrency, or the shortest time of a request that comes alone.
    goal: Annotated[Goal, Expected(" or ".join(map(repr, GOALS)))] = GOALS[0]
    #: None: the best that fits.
    variant: Annotated[Text | None, Expected("a variant of the model, or None for the best that fits")] = None
    #: May sit on GPUs that other models of this host use too.
    share: Switch = False
    #: Wished decode rate of the whole host.
    tokens_per_s: Annotated[
        Annotated[float, Field(gt=0)] | None, Expected("a number of tokens per second above 0, or None")
    ] = None
    #: GiB of the host's memory that keep, for each replica, what its cache drops.
    kv_offload_gib: Annotated[
        Annotated[float, Field(gt=0)] | None, Expected("GiB of the host's memory above 0, or None")
    ] = None
    #: Over the model's own arguments: see docs/models.md.
    arguments: Annotated[dict[str, Any], AfterValidator(_arguments), Expected("arguments by name")] = Field(
        default_factory=dict
    )
    #: Tokens drafted ahead: the draft that the catalog names, or one of one's own.
    speculation: Annotated[
        bool | Annotated[dict[str, Any], AfterValidator(_speculation)],
        Expected("True for the draft that the catalog names, or {'method': …, 'tokens': …}"),
    ] = False
    #: What serves it; "auto": llama.cpp where the variant is a GGUF file or no GPU is there, on GPUs where it can, else
    #: vLLM.
    engine: Annotated[EngineName, Expected("one of " + ", ".join(map(repr, ENGINE_NAMES)))] = "vllm"
    #: Hosts that serve one replica together, the head first; none: this host alone. See docs/engines.md.
    hosts: Annotated[Many[Text], Expected("a list of hosts of the inventory, the head first")] = ()
    #: The network interface over which they talk; None: the only one that there is.
    interface: Annotated[
        Annotated[str, *pattern(r"[A-Za-z0-9][\w.:@-]{0,14}", "the name of a network interface such as 'eth1'")] | None,
        Expected("the name of a network interface such as 'eth1', or None"),
    ] = None
    #: LoRA adapters, which callers ask for by their own names.
    adapters: Annotated[
        Many[Annotated[dict[str, Any], AfterValidator(_adapter), Expected("name, repository, revision and rank")]],
        Expected("a list of adapters, each with name, repository, revision and rank"),
    ] = ()

    def engine_of(self, model: Model, *, has_gpu: bool = True) -> str:
        """What serves a model here; `has_gpu`: the host has one, which `auto` looks at where a model has both forms."""
        if self.engine != "auto":
            return self.engine
        forms = {one.file is not None for one in model.variants if self.variant in (None, one.name)}
        if True not in forms or (has_gpu and forms != {True}):
            return VLLM.name
        cuda = has_gpu and model.kind in LLAMA_CPP_CUDA.kinds
        return LLAMA_CPP_CUDA.name if cuda else LLAMA_CPP.name

    def request(self, models: Mapping[str, Model], lock: Lock | None = None, *, has_gpu: bool = True) -> ModelRequest:
        """What the planner is asked for, of these models; drafts and adapters at the commits of a lock.

        Variants that its engine does not read are left out.
        """
        model = models[self.model]
        engine = self.engine_of(model, has_gpu=has_gpu)
        gguf = ENGINES[engine].reads_gguf
        model = replace(model, variants=tuple(one for one in model.variants if (one.file is not None) is gguf))

        def at(one: At) -> At:
            found = lock.repositories.get(one.repository) if lock and one.repository else None
            return replace(one, revision=found.commit) if found else one

        drafted = model.speculation if self.speculation is True else None
        if isinstance(self.speculation, dict):
            drafted = entry.speculation("speculation", self.speculation)
        return ModelRequest(
            model,
            Workload(self.context, self.concurrency, self.tokens_per_s),
            variant=self.variant,
            replicas=self.replicas,
            share=self.share,
            goal=self.goal,
            kv_offload_gib=self.kv_offload_gib,
            arguments=entry.arguments("arguments", self.arguments, model.arguments),
            speculation=at(drafted) if drafted else None,
            adapters=tuple(at(entry.adapter("adapters", one)) for one in self.adapters),
            engine=engine,
            hosts=self.hosts,
        )

    def beside(self, models: Mapping[str, Model]) -> Iterator[tuple[str, str, str | None]]:
        """Repositories besides the model's own: label, repository and revision of its draft and its adapters."""
        request = self.request(models)
        if request.speculation and request.speculation.repository:
            yield f"{self.model} (draft)", request.speculation.repository, request.speculation.revision
        for one in request.adapters:
            yield f"{one.name} (adapter of {self.model})", one.repository, one.revision


def _together(index: int, one: Serve, model: Model, others: int) -> Iterator[Wrong]:
    """What does not go with several hosts that serve one replica."""
    where = ("serve", index)
    if not one.hosts:
        if one.interface:
            yield Wrong((*where, "interface"), one.interface, "it with `hosts` alone, which it is for")
        return
    if len(one.hosts) < 2:
        yield Wrong((*where, "hosts"), list(one.hosts), "two hosts or more, or no `hosts` for this one alone")
    if twice := sorted({name for name in one.hosts if one.hosts.count(name) > 1}):
        yield Wrong((*where, "hosts"), list(one.hosts), f"each host once, and {twice[0]} is there more often")
    if others:
        words = "the only model of its hosts, since one that several hosts serve takes all their GPUs"
        yield Wrong((*where, "model"), one.model, words)
    if one.engine != "vllm":
        yield Wrong((*where, "engine"), one.engine, "'vllm', the only engine that serves over several hosts here")
    if model.kind != "generate":
        yield Wrong((*where, "model"), one.model, f"a model that generates, {one.model} is for {model.kind}")
    alone: tuple[tuple[str, object], ...] = (
        ("replicas", one.replicas if one.replicas != 1 else None),
        ("share", one.share),
        ("speculation", one.speculation),
        ("adapters", list(one.adapters)),
        ("kv_offload_gib", one.kv_offload_gib),
        ("tokens_per_s", one.tokens_per_s),
    )
    for name, said in alone:
        if said:
            yield Wrong((*where, name), said, "nothing there where several hosts serve one replica")


def _unreadable(index: int, one: Serve, model: Model) -> Iterator[Wrong]:
    """What an engine cannot do with a model: read its variants, serve its kind, load what lies beside it."""
    engine = ENGINES[one.engine_of(model)]
    gguf = engine.reads_gguf
    if not any((variant.file is not None) is gguf for variant in model.variants if one.variant in (None, variant.name)):
        what = "a GGUF file (`file` of a variant)" if gguf else "safetensors, or engine: llama.cpp for its GGUF file"
        yield Wrong(
            ("serve", index, "engine"), one.engine, f"an engine that reads {one.model}, for {engine.title} {what}"
        )
    elif model.kind not in engine.kinds:
        words = f"vllm for {one.model}, whose kind ({model.kind}) {engine.title} does not serve here"
        yield Wrong(("serve", index, "engine"), one.engine, words)
    elif engine.name != "vllm":
        untold: dict[str, Any] = {"speculation": one.speculation, "adapters": one.adapters, "arguments": one.arguments}
        if engine.needs_gpu:
            untold |= {"share": one.share, "kv_offload_gib": one.kv_offload_gib, "tokens_per_s": one.tokens_per_s}
        for name, said in untold.items():
            if said:
                yield Wrong(("serve", index, name), said, f"nothing with {engine.title}, which is not told of it here")


def described(file: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The models of a site: those in its file, and those in its values over them. Raises: CatalogError."""
    return {**(site.read(Path(file).expanduser()) if file else {}), **values}


def _site(value: str | None) -> str | None:
    try:
        described(value, {})
    except CatalogError as error:
        raise ValueError(f"models as docs/models.md describes them: {str(error).rstrip('.')}") from None
    return value


Digest = Annotated[str, *pattern(r"[0-9a-f]{64}", "a sha256 of 64 hexadecimal digits")]


class Serving(Section):
    """What a host serves, and the models of its site."""

    models_lock: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    models_site: Annotated[LocalPath | None, AfterValidator(_site), Expected("a path on this machine, or None")]
    models_waived: Annotated[
        dict[Text, dict[Text, Digest]],
        Expected("digests by file and repository: {'ORG/NAME': {'config.json': '<sha256>'}}"),
    ]
    serve: Annotated[Many[Serve], Expected("a list of models, each with model, context and concurrency")]
    site_models: Annotated[dict[str, Any], AfterValidator(_described), Expected("models by name")]
    #: Of those of the fleet, the ones of models that this host serves hold here. Several models may share one.
    aliases: Annotated[
        dict[ModelName, Annotated[str | dict[str, int], BeforeValidator(_alias), Expected(_SHARES)]],
        Expected("models by the other names that callers use"),
    ]
    #: Of the whole fleet, as aliases are.
    fallback: Annotated[
        dict[Text, Annotated[Many[Text], Expected("a list of models")]],
        Expected("lists of models by the model that they stand in for, such as {'qwen3-32b': ['qwen3-8b']}"),
    ]
    fleet_weight: Annotated[int, Field(ge=1, le=1000), Expected("a whole number from 1 to 1000")]

    @model_validator(mode="before")
    @classmethod
    def _as_people_type(cls, data: Any) -> Any:
        """Names of hubs and other spellings become the catalog's: `Qwen/Qwen3-8B-AWQ` is a variant of qwen3-8b."""
        try:
            models = load_models(described(data.get("models_site"), data["site_models"]))
            serve = [_named(item, models) for item in data["serve"]]
        except (SizingError, TypeError, ValueError, KeyError, AttributeError):
            # What is wrong is said where it is checked.
            return data
        return {**data, "serve": serve}

    @property
    def catalog(self) -> Mapping[str, Model]:
        """Every model that is described, by name: the catalog's, the site's file's, and those of site_models.

        Raises: CatalogError.
        """
        return load_models(described(self.models_site, self.site_models))

    @property
    def together(self) -> Serve | None:
        """What a host serves together with others; None where it serves alone."""
        return next((one for one in self.serve if one.hosts), None)

    @property
    def kinds(self) -> frozenset[Kind]:
        """What the served models are for."""
        catalog = self.catalog
        return frozenset(catalog[one.model].kind for one in self.serve)

    @property
    def names(self) -> tuple[str, ...]:
        """What callers ask for: models, their aliases, what they stand in for, and adapters by their own names."""
        adapters = {adapter["name"] for one in self.serve for adapter in one.adapters}
        models = {one.model for one in self.serve}
        others = {name for model in models for name in (*self.aliases_of(model), *self.fallbacks_of(model))}
        return tuple(sorted({*models, *adapters, *others}))

    @property
    def stands_in_for(self) -> tuple[str, ...]:
        """The names that this host answers for only where no host of the fleet can that serves the model, sorted."""
        return tuple(sorted({name for one in self.serve for name in self.fallbacks_of(one.model)}))

    def fallbacks_of(self, model: str) -> tuple[str, ...]:
        """The models, with their aliases, that one of this host stands in for: of those that it does not serve itself.

        Where several could, the first of its list that is served here.
        """
        served = {one.model for one in self.serve}
        found = {
            name
            for missing, standing in self.fallback.items()
            if missing not in served and next((one for one in standing if one in served), None) == model
            for name in (missing, *self.aliases_of(missing))
            # One that models share is answered for by those of them that are here.
            if not served & self.shares.get(name, {}).keys()
        }
        return tuple(sorted(found))

    def answers_at(self, host: str) -> bool:
        """Whether callers of a host are given its models there: of several that serve together, at the head alone."""
        return all(not one.hosts or one.hosts[0] == host for one in self.serve)

    def aliases_of(self, model: str) -> tuple[str, ...]:
        """The other names that callers use for a model, sorted."""
        return tuple(sorted(name for name, shares in self.shares.items() if model in shares))

    @property
    def shares(self) -> Mapping[str, Mapping[str, int]]:
        """Alias -> model -> its share of the requests for that name."""
        return {name: {named: 1} if isinstance(named, str) else named for name, named in self.aliases.items()}

    @property
    def parts(self) -> Mapping[str, Mapping[str, int]]:
        """Of the names that several models share: the models that this host serves, with their shares."""
        served = {one.model for one in self.serve}
        shared = {name: shares for name, shares in self.shares.items() if len(shares) > 1}
        found = {
            name: {model: share for model, share in shares.items() if model in served}
            for name, shares in shared.items()
        }
        return {name: shares for name, shares in found.items() if shares}

    @property
    def lock(self) -> Lock | None:
        """The commits that deploys take; None where there is no lock. Raises: CatalogError."""
        return read_lock(Path(self.models_lock).expanduser()) if self.models_lock else None

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model that can be served, by name: where there is a lock, at its commits. Raises: CatalogError."""
        lock = self.lock
        return pin(self.catalog, lock) if lock else self.catalog

    def without_lock(self) -> str | None:
        """Why a deploy has no commits to take, without the final stop; None where there is a lock, or none is meant.

        Raises: CatalogError.
        """
        if not self.serve or not self.models_lock or self.lock:
            return None
        return (
            f"{self.models_lock} is not there, expected the commits and files of what is served, since deploys take "
            "these and no others; run `ingot models lock`"
        )

    def unlocked(self) -> Iterator[Wrong]:
        """What the lock does not have, or why it cannot be read."""
        try:
            lock = self.lock
        except CatalogError as error:
            yield Wrong(("models_lock",), self.models_lock, f"a lock of models: {str(error).rstrip('.')}")
            return
        if lock is None:
            return
        for index, one in enumerate(self.serve):
            if unlocked([one.model], self.catalog, lock):
                words = f"a model that {self.models_lock} has; run `ingot models lock`"
                yield Wrong(("serve", index, "model"), one.model, words)
            elif one.variant and one.variant not in {variant.name for variant in self.models[one.model].variants}:
                words = f"a variant that {self.models_lock} has; run `ingot models lock`"
                yield Wrong(("serve", index, "variant"), one.variant, words)
            for label, repository, _ in one.beside(self.catalog):
                if repository not in lock.repositories:
                    words = f"{label} in {self.models_lock}, which lacks {repository}; run `ingot models lock`"
                    yield Wrong(("serve", index, "model"), one.model, words)

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        refuse("serving", (*self._unknown(), *self._alike()))
        return self

    def _alike(self) -> Iterator[Wrong]:
        """Models whose services would have one name, and displace each other."""
        first: dict[str, str] = {}
        for index, one in enumerate(self.serve):
            other = first.setdefault(service_name(one.model), one.model)
            if other != one.model:
                words = f"a model whose name differs from {other!r} in more than punctuation and capitals"
                yield Wrong(("serve", index, "model"), one.model, words)

    def _unnameable(self, index: int, one: Serve, model: Model) -> Iterator[Wrong]:
        """Names that callers would use for a model and that its engine cannot know it by."""
        wrong_with = ENGINES[one.engine_of(model)].unnameable
        names = (one.model, *self.aliases_of(one.model), *self.fallbacks_of(one.model)) if wrong_with else ()
        for name in names:
            if wrong_with and (words := wrong_with(name)):
                yield Wrong(("serve", index, "model"), name, words)

    def _unknown(self) -> Iterator[Wrong]:
        models = self.catalog
        for index, one in enumerate(self.serve):
            if one.model not in models:
                words = f"a model of the catalog or of site_models{nearest(one.model, models)}"
                yield Wrong(("serve", index, "model"), one.model, words)
                continue
            variants = [variant.name for variant in models[one.model].variants]
            if one.variant is not None and one.variant not in variants:
                yield Wrong(("serve", index, "variant"), one.variant, f"one of {', '.join(variants)}")
                continue
            yield from _unreadable(index, one, models[one.model])
            yield from self._unnameable(index, one, models[one.model])
            yield from _together(index, one, models[one.model], len(self.serve) - 1)
            if one.speculation is True and models[one.model].speculation is None:
                words = f"method and tokens, since the catalog names no draft of {one.model}"
                yield Wrong(("serve", index, "speculation"), True, words)
        names = [one.model for one in self.serve]
        for index, one in enumerate(self.serve):
            for number, adapter in enumerate(one.adapters):
                if adapter["name"] in names:
                    words = "a name that no other model or adapter of this host has"
                    yield Wrong(("serve", index, "adapters", number, "name"), adapter["name"], words)
                names.append(adapter["name"])
        for alias, shares in self.shares.items():
            yield from self._unlike(alias, shares, models)
            if alias in names:
                yield Wrong(("aliases",), alias, "names that no model or adapter of this host has")
        yield from self._standing(models)

    def _unlike(self, alias: str, shares: Mapping[str, int], models: Mapping[str, Model]) -> Iterator[Wrong]:
        """Models of an alias that nobody described, or that cannot take each other's requests."""
        unknown = next((model for model in shares if model not in models), None)
        if unknown is not None:
            words = f"a model of the catalog or of site_models{nearest(unknown, models)}"
            yield Wrong(("aliases", alias), unknown, words)
            return
        if len(kinds := {models[model].kind for model in shares}) > 1:
            words = f"models of one kind, and these are for {' and '.join(sorted(kinds))}"
            yield Wrong(("aliases", alias), list(shares), words)
        if len(engines := {one.engine for one in self.serve if one.model in shares}) > 1:
            words = f"models that one engine serves on a host, and here {' and '.join(sorted(engines))} do"
            yield Wrong(("aliases", alias), list(shares), words)

    def _standing(self, models: Mapping[str, Model]) -> Iterator[Wrong]:
        for missing, standing in self.fallback.items():
            unknown = next((name for name in (missing, *standing) if name not in models), None)
            if unknown is not None:
                words = f"models of the catalog or of site_models{nearest(unknown, models)}"
                yield Wrong(("fallback", missing), unknown, words)
            elif missing in standing:
                yield Wrong(("fallback", missing), missing, "other models than itself")
            elif any(models[name].kind != models[missing].kind for name in standing):
                yield Wrong(("fallback", missing), list(standing), f"models of its kind ({models[missing].kind})")
