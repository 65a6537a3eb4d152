"""Reads the names that vLLM accepts from its own Python files, without importing or running any of them.

`python -m ingot.engines.reading SOURCE > ingot/engines/registries/vllm-<version>.json` makes the data of a version
from a wheel, from an image saved by `docker save`, or from a directory that holds the package.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from ingot.engines.registry import Registry, dump

TOOLS = "vllm/tool_parsers/__init__.py"
REASONING = "vllm/reasoning/__init__.py"
QUANTIZATION = "vllm/model_executor/layers/quantization/__init__.py"
MODELS = "vllm/model_executor/models/registry.py"
MODEL_CONFIG = "vllm/config/model.py"
CACHE_CONFIG = "vllm/config/cache.py"
SPECULATIVE = "vllm/config/speculative.py"
ARGUMENTS = "vllm/engine/arg_utils.py"
#: Where 0.33 keeps the server's own arguments, and where 0.32 does.
FRONTENDS = ("vllm/entrypoints/common/cli_args.py", "vllm/entrypoints/launchers/cli_args.py")
VERSION = "vllm/_version.py"
REQUIRED = (TOOLS, REASONING, QUANTIZATION, MODELS, MODEL_CONFIG, CACHE_CONFIG, SPECULATIVE, ARGUMENTS, VERSION)
SOURCES = (*REQUIRED, *FRONTENDS)
#: Tables of MODELS by what their architectures are for.
ARCHITECTURES = {
    "generate": ("_TEXT_GENERATION_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS", "_TRANSFORMERS_BACKEND_MODELS"),
    "multimodal": ("_MULTIMODAL_MODELS",),
    "embed": ("_EMBEDDING_MODELS", "_LATE_INTERACTION_MODELS"),
    "classify": ("_SEQUENCE_CLASSIFICATION_MODELS", "_TOKEN_CLASSIFICATION_MODELS", "_REWARD_MODELS"),
    "draft": ("_SPECULATIVE_DECODING_MODELS",),
}


class ReadingError(Exception):
    """An engine's files do not hold the names where this version of Ingot looks for them."""


def read(sources: Mapping[str, str], source: str) -> Registry:
    """The registry of vLLM's files, which are given by their paths. Raises: ReadingError where a table is missing."""
    frontend = next((path for path in FRONTENDS if path in sources), FRONTENDS[0])
    missing = [path for path in (*REQUIRED, frontend) if path not in sources]
    if missing:
        raise ReadingError(f"{source} has no {missing[0]}, expected names in it: this version keeps them elsewhere.")
    trees = {path: ast.parse(sources[path]) for path in SOURCES if path in sources}
    return Registry(
        engine="vllm",
        version=_version(trees[VERSION]),
        source=source,
        tool_parsers=_keys(trees[TOOLS], "_TOOL_PARSERS_TO_REGISTER"),
        reasoning_parsers=_keys(trees[REASONING], "_REASONING_PARSERS_TO_REGISTER"),
        quantizations=_literal(trees[QUANTIZATION], "QuantizationMethods"),
        tokenizer_modes=_literal(trees[MODEL_CONFIG], "TokenizerMode"),
        kv_cache_dtypes=_literal(trees[CACHE_CONFIG], "CacheDType"),
        speculative_methods=_literal(trees[SPECULATIVE], "SpeculativeMethod"),
        arguments=tuple(sorted({*_arguments(trees[ARGUMENTS]), *_fields(trees[frontend])})),
        architectures={
            kind: tuple(sorted({name for table in tables for name in _keys(trees[MODELS], table)}))
            for kind, tables in ARCHITECTURES.items()
        },
    )


def sources_of(place: Path) -> dict[str, str]:
    """The files that hold names: of a wheel, of a saved image, or below a directory."""
    if place.is_dir():
        return {path: (place / path).read_text(encoding="utf-8") for path in SOURCES if (place / path).is_file()}
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as wheel:
            return {path: wheel.read(path).decode() for path in set(SOURCES) & set(wheel.namelist())}
    found: dict[str, str] = {}
    with tarfile.open(place) as archive:
        for layer in _layers(archive):
            with tarfile.open(fileobj=layer) as files:
                for member in files:
                    path = member.name[max(member.name.find("vllm/"), 0) :]
                    opened = files.extractfile(member) if path in SOURCES and member.isfile() else None
                    if opened is not None:
                        found[path] = opened.read().decode()
    return found


def named(place: Path) -> str:
    """What a registry says of its source: the file's name and digest."""
    if place.is_dir():
        return place.name
    with place.open("rb") as opened:
        return f"{place.name} sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


def _layers(archive: tarfile.TarFile) -> Iterator[IO[bytes]]:
    manifest = archive.extractfile("manifest.json")
    for name in json.load(manifest)[0]["Layers"] if manifest else ():
        opened = archive.extractfile(name)
        if opened is not None:
            yield opened


def _assigned(tree: ast.Module, name: str) -> ast.expr:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return node.value
    raise ReadingError(f"{name} is assigned nowhere, expected names in it: this version keeps them elsewhere.")


def _keys(tree: ast.Module, name: str) -> tuple[str, ...]:
    """The keys that a table writes out; what it takes over from another table by `**` is among that one's keys."""
    table = _assigned(tree, name)
    keys = table.keys if isinstance(table, ast.Dict) else []
    return tuple(sorted(str(key.value) for key in keys if isinstance(key, ast.Constant)))


def _literal(tree: ast.Module, name: str) -> tuple[str, ...]:
    return tuple(sorted(set(_values(_assigned(tree, name), tree))))


def _values(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The strings of a Literal, and of the Literals that it names."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.Name):
        yield from _values(_assigned(tree, node.id), tree)
    elif isinstance(node, ast.Subscript):
        yield from _values(node.slice, tree)
    elif isinstance(node, ast.Tuple):
        for one in node.elts:
            yield from _values(one, tree)


def _arguments(tree: ast.Module) -> Iterator[str]:
    """The long names that `add_argument` is called with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            for word in node.args:
                if isinstance(word, ast.Constant) and str(word.value).startswith("--"):
                    yield str(word.value).removeprefix("--")


def _fields(tree: ast.Module) -> Iterator[str]:
    """The fields of the server's own arguments: each becomes an argument of its name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("FrontendArgs"):
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    yield one.target.id.replace("_", "-")


def _version(tree: ast.Module) -> str:
    value = _assigned(tree, "__version__")
    if not isinstance(value, ast.Constant):
        raise ReadingError(f"{VERSION} states no version: this version keeps it elsewhere.")
    return str(value.value).partition("+")[0]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    sys.stdout.write(dump(read(sources_of(place), named(place))))
