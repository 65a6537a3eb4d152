"""Imports run one way: this reads them and fails on any other arrow."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Room of the house -> the rooms it may import (docs/architecture.md, "Imports run one way"). A room is a folder of
#: `ingot/` or of `ingot/operations/`, or a module at their root; every one of them is in a row.
ALLOWED = {
    "ingot.errors": set(),
    "ingot.sizing": set(),
    "ingot.engines": {"ingot.sizing"},
    "ingot.compat": set(),
    "ingot.catalog": {"ingot.sizing"},
    "ingot.gateway": {"ingot.errors"},
    "ingot.monitoring": {"ingot.facts"},
    "ingot.facts": {"ingot.compat", "ingot.gateway", "ingot.sizing"},
    "ingot.settings": {
        "ingot.catalog",
        "ingot.compat",
        "ingot.engines",
        "ingot.errors",
        "ingot.gateway",
        "ingot.monitoring",
        "ingot.sizing",
    },
    "ingot.hub": {
        "ingot.catalog",
        "ingot.engines",
        "ingot.errors",
        "ingot.operations.weights",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.inventory": {"ingot.errors", "ingot.facts", "ingot.runs", "ingot.secrets", "ingot.settings"},
    "ingot.runs": {"ingot.errors"},
    "ingot.secrets": {"ingot.errors", "ingot.gateway", "ingot.settings"},
    "ingot.operations": {
        "ingot.catalog",
        "ingot.errors",
        "ingot.facts",
        "ingot.runs",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.containers": {
        "ingot.errors",
        "ingot.facts",
        "ingot.operations",
        "ingot.secrets",
        "ingot.settings",
    },
    "ingot.operations.gateway": {
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.gateway",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.secrets",
        "ingot.settings",
    },
    "ingot.operations.driver": {
        "ingot.catalog",
        "ingot.compat",
        "ingot.errors",
        "ingot.facts",
        "ingot.operations",
        "ingot.operations.gateway",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.serving": {
        "ingot.catalog",
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.gateway",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.gateway",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.weights": {
        "ingot.catalog",
        "ingot.errors",
        "ingot.facts",
        "ingot.operations",
        "ingot.operations.gateway",
        "ingot.operations.serving",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.preflight": {
        "ingot.catalog",
        "ingot.compat",
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.driver",
        "ingot.operations.gateway",
        "ingot.operations.monitoring",
        "ingot.operations.serving",
        "ingot.operations.weights",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.rollback": {
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.gateway",
        "ingot.operations",
        "ingot.operations.gateway",
        "ingot.operations.serving",
        "ingot.runs",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.operations.monitoring": {
        "ingot.bench",
        "ingot.compat",
        "ingot.facts",
        "ingot.gateway",
        "ingot.monitoring",
        "ingot.operations",
        "ingot.operations.gateway",
        "ingot.secrets",
        "ingot.settings",
    },
    "ingot.operations.departure": {
        "ingot.facts",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.gateway",
        "ingot.settings",
    },
    "ingot.onboarding": {
        "ingot.catalog",
        "ingot.compat",
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.operations.gateway",
        "ingot.operations.preflight",
        "ingot.secrets",
        "ingot.sizing",
    },
    "ingot.acceptance": {
        "ingot.catalog",
        "ingot.errors",
        "ingot.facts",
        "ingot.gateway",
        "ingot.inventory",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.gateway",
        "ingot.operations.preflight",
        "ingot.runs",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.bench": {
        "ingot.catalog",
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.monitoring",
        "ingot.operations",
        "ingot.operations.serving",
        "ingot.runs",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
    },
    "ingot.migration": {"ingot.catalog", "ingot.errors", "ingot.facts", "ingot.sizing"},
    "ingot.bundle": {
        "ingot.compat",
        "ingot.engines",
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.driver",
        "ingot.operations.gateway",
        "ingot.operations.monitoring",
        "ingot.operations.preflight",
        "ingot.operations.serving",
        "ingot.operations.weights",
        "ingot.secrets",
        "ingot.settings",
    },
    "ingot.verification": {"ingot.errors", "ingot.inventory", "ingot.operations"},
    "ingot.departure": {
        "ingot.errors",
        "ingot.onboarding",
        "ingot.operations",
        "ingot.operations.departure",
        "ingot.secrets",
        "ingot.verification",
    },
    "ingot.rollback": {
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.operations",
        "ingot.operations.rollback",
        "ingot.operations.serving",
        "ingot.runs",
        "ingot.settings",
        "ingot.verification",
    },
    "ingot.housekeeping": {
        "ingot.errors",
        "ingot.inventory",
        "ingot.operations",
        "ingot.operations.weights",
        "ingot.runs",
        "ingot.verification",
    },
    "ingot.report": {
        "ingot.acceptance",
        "ingot.bench",
        "ingot.errors",
        "ingot.facts",
        "ingot.inventory",
        "ingot.monitoring",
        "ingot.onboarding",
        "ingot.operations.driver",
        "ingot.operations.preflight",
        "ingot.rollback",
        "ingot.runs",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
        "ingot.verification",
    },
    "ingot.sandbox": {"ingot.errors", "ingot.inventory", "ingot.secrets"},
    "ingot.commands": {
        "ingot.acceptance",
        "ingot.bench",
        "ingot.bundle",
        "ingot.catalog",
        "ingot.departure",
        "ingot.errors",
        "ingot.facts",
        "ingot.housekeeping",
        "ingot.hub",
        "ingot.inventory",
        "ingot.monitoring",
        "ingot.migration",
        "ingot.onboarding",
        "ingot.operations.departure",
        "ingot.operations.preflight",
        "ingot.report",
        "ingot.rollback",
        "ingot.sandbox",
        "ingot.secrets",
        "ingot.settings",
        "ingot.sizing",
        "ingot.verification",
    },
    "roles": {
        "ingot.operations",
        "ingot.operations.containers",
        "ingot.operations.driver",
        "ingot.operations.gateway",
        "ingot.operations.monitoring",
        "ingot.operations.preflight",
        "ingot.operations.rollback",
        "ingot.operations.serving",
        "ingot.operations.weights",
    },
    "deploy.py": {"roles"},
    "group_data": set(),
}

#: Rooms that decide: whatever they import, and whatever that imports, is Python's standard library or named here.
PURE = {
    "ingot.sizing": set(),
    "ingot.engines": set(),
    "ingot.compat": set(),
    "ingot.catalog": {"pydantic", "yaml"},
    "ingot.gateway": set(),
    "ingot.monitoring": {"yaml"},
}

#: Code that hosts run: the standard library and its own package only. What is one file is not a package.
SHIPPED = {
    "ingot.gateway.filter": set(),
    "ingot.engines.accounting": set(),
    "ingot.engines.replica_watch": set(),
    "ingot.facts.figures_on_host": set(),
    "ingot.facts.usage_on_host": set(),
    "ingot.monitoring.collector": set(),
    "ingot.operations.weights.scrub_on_host": set(),
    "ingot.sandbox.simulated.standins": {"standins", "torch"},
    # In the engine's image, which has torch.
    "ingot.acceptance.burnin": {"torch"},
    "ingot.bench.on_host": {"vllm"},
}

#: The only modules outside of the sandbox that know that hosts can be simulated.
SANDBOX_EDGES = {"ingot.commands.demo", "ingot.commands.sandbox"}


def modules() -> dict[str, Path]:
    """Every module of the package, and its file."""
    found = {}
    for path in sorted((ROOT / "ingot").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules that a file imports, anywhere in it; names of ours are resolved to the module that holds them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Stand-ins are another package on their test host: only they name their siblings relatively.
            assert node.level == 0 or "standins" in path.parts, f"{path}: write absolute imports"
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                found.add(full if full in MODULES else module)
    return frozenset(found)


def room_of(module: str) -> str | None:
    """The room that a module belongs to; None for what is not ours."""
    names = module.split(".")
    if names[0] != "ingot":
        return names[0] if names[0] in {"roles", "group_data", "tests", "benchmarks"} else None
    folder = ROOT.joinpath(*names[:3])
    if names[1:2] == ["operations"] and len(names) > 2 and folder.is_dir():
        return ".".join(names[:3])
    return ".".join(names[:2])


def files_of(room: str) -> Iterator[Path]:
    if not room.startswith("ingot"):
        path = ROOT / room
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
        return
    yield from (path for module, path in MODULES.items() if room_of(module) == room)


def reached_from(module: str, seen: set[str]) -> set[str]:
    """Every module that importing `module` loads, its packages' own files included."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            for target in imports_of(MODULES[name]):
                reached_from(target, seen)
    return seen


def is_foreign(module: str, but: set[str]) -> bool:
    top = module.split(".")[0]
    return top not in {"ingot", *sys.stdlib_module_names, *but}


def test_every_room_is_in_a_row() -> None:
    assert {room_of(module) for module in MODULES} - {"ingot"} <= set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room: str) -> None:
    files = list(files_of(room))
    assert files, f"{room} has no files: correct ALLOWED"
    arrows = {
        (target, path.relative_to(ROOT))
        for path in files
        for module in imports_of(path)
        if (target := room_of(module)) and target != room
    }
    assert not {arrow for arrow in arrows if arrow[0] not in ALLOWED[room]}
    assert ALLOWED[room] <= {target for target, _ in arrows}, "rows name arrows that are there"


def test_no_arrow_runs_back() -> None:
    left = {room: set(targets) for room, targets in ALLOWED.items()}
    while free := {room for room, targets in left.items() if not targets}:
        left = {room: targets - free for room, targets in left.items() if room not in free}
    assert not left, "these rooms import each other in a circle"


@pytest.mark.parametrize("room", PURE)
def test_decisions_are_pure_however_far_one_follows_their_imports(room: str) -> None:
    reached: set[str] = set()
    for module in MODULES:
        if room_of(module) == room:
            reached_from(module, reached)
    assert not {module for module in reached if is_foreign(module, PURE[room])}


@pytest.mark.parametrize("shipped", SHIPPED)
def test_what_hosts_run_needs_nothing_but_itself(shipped: str) -> None:
    files = [path for module, path in MODULES.items() if f"{module}.".startswith(f"{shipped}.")]
    assert files
    wrong = {
        (path.name, module)
        for path in files
        for module in imports_of(path)
        if is_foreign(module, SHIPPED[shipped])
        or (module.split(".")[0] == "ingot" and not f"{module}.".startswith(f"{shipped}."))
    }
    assert not wrong


def test_a_role_is_one_file_with_one_public_deploy() -> None:
    for path in files_of("roles"):
        if path.name == "__init__.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and not node.name.startswith("_")
            and any("deploy" in ast.unparse(decorator) for decorator in node.decorator_list)
        ]
        assert public == [path.stem], path


def test_only_the_edges_import_the_sandbox() -> None:
    """Nothing on a production path knows that hosts can be simulated."""
    wrong = {
        module
        for module, path in MODULES.items()
        if room_of(module) != "ingot.sandbox"
        and module not in SANDBOX_EDGES
        and any(room_of(target) == "ingot.sandbox" for target in imports_of(path))
    }
    assert not wrong


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_pages_name_files_that_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:benchmarks|ingot|roles|scripts|templates|tests)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_page_has_a_row_for_every_room() -> None:
    rows = set(re.findall(r"^\| `(ingot/[\w/]+)/`", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    assert {room.replace(".", "/") for room in ALLOWED if room.startswith("ingot.") and room != "ingot.errors"} <= rows


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\(docs/(\w[\w-]*\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"CHANGELOG.md"}
