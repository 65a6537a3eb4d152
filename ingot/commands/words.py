"""The words that a shell completes: hosts, models and GPUs, by the names and lines of files, without a wait."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path

import click
from click.shell_completion import CompletionItem

#: A key at the beginning of a line of YAML: what the catalog's files name is at their outermost level.
_KEY = re.compile(r"^['\"]?([A-Za-z0-9][^\s'\"#]*?)['\"]?:", re.MULTILINE)
_INVENTORIES = Path("inventories")


def hosts(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Hosts by their files beside the inventory, or beside each of them; a word with a slash is an inventory."""
    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    inventory = ctx.params.get("inventory")
    beside = [Path(inventory).with_suffix("")] if inventory else _inventories()
    names = {file.stem for directory in beside for file in directory.glob("*.yaml")}
    if not inventory or Path(inventory).name == "sandbox.py":
        names |= _booted()
    taken = {*(ctx.params.get("words") or ()), *(ctx.params.get("limits") or ())}
    return _beginning(incomplete, names - taken)


def models(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models of the catalog, and those of the site's own file."""
    catalog = files("ingot") / "catalog" / "models"
    texts = [file.read_text(encoding="utf-8") for file in catalog.iterdir() if file.name.endswith(".yaml")]
    site = _INVENTORIES / "models.site.yaml"
    if site.is_file():
        texts.append(site.read_text(encoding="utf-8"))
    return _beginning(incomplete, {name for text in texts for name in _KEY.findall(text)})


def gpus(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """GPUs of the catalog, the last of several that are joined by `+`."""
    before, plus, last = incomplete.rpartition("+")
    known = _KEY.findall((files("ingot") / "catalog" / "gpus.yaml").read_text(encoding="utf-8"))
    return [CompletionItem(f"{before}{plus}{item.value}") for item in _beginning(last, set(known))]


def _inventories() -> list[Path]:
    return [path for path in _INVENTORIES.iterdir() if path.is_dir()] if _INVENTORIES.is_dir() else []


def booted() -> Path:
    """Where this machine's test hosts are, a directory each: `ingot.sandbox` says so too, and takes long to import."""
    return Path(os.environ.get("INGOT_SANDBOX_STATE") or "/var/lib/ingot-sandbox") / "hosts"


def _booted() -> set[str]:
    try:
        return {entry.name for entry in os.scandir(booted()) if entry.is_dir()}
    except OSError:
        return set()


def _beginning(incomplete: str, names: set[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
