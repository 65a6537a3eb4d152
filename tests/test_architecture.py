"""Imports run one way: this reads them and fails on any other arrow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Part of the house -> the parts of Ingot it may import (docs/architecture.md, "Imports run one way").
ALLOWED = {
    "ingot.sizing": set(),
    "ingot.engines": {"ingot.sizing"},
    "ingot.compat": {"ingot.sizing"},
    "ingot.catalog": {"ingot.sizing"},
    "ingot.report": {"ingot.sizing", "ingot.catalog", "ingot.compat"},
    "ingot.errors": set(),
    "ingot.expectation": set(),
    "ingot.inventory": {"ingot.errors", "ingot.expectation"},
    "ingot.connector": {"ingot.inventory"},
    "ingot.files": set(),
    "ingot.certificate_names": {"ingot.errors"},
    "ingot.pki": {"ingot.certificate_names", "ingot.errors", "ingot.files"},
    "ingot.certificate_pair": {"ingot.certificate_names", "ingot.errors"},
    "ingot.keys": {"ingot.errors", "ingot.files", "ingot.gateway"},
    "ingot.when": {"ingot.errors"},
    "ingot.usage": {"ingot.facts"},
    "ingot.gateway": {"ingot.errors"},
    "ingot.verify_key": {"ingot.files", "ingot.keys"},
    "ingot.verification": {"ingot.fleet", "ingot.operations", "ingot.onboarding", "ingot.errors", "ingot.files"},
    "ingot.facts": {"ingot.sizing", "ingot.compat", "ingot.gateway"},
    "ingot.operations": {
        "ingot.facts",
        "ingot.engines",
        "ingot.sizing",
        "ingot.compat",
        "ingot.catalog",
        "ingot.gateway",
        "ingot.certificate_names",
        "ingot.certificate_pair",
        "ingot.pki",
        "ingot.keys",
        "ingot.verify_key",
        "ingot.errors",
        "ingot.expectation",
    },
    "ingot.onboarding": {
        "ingot.sizing",
        "ingot.operations",
        "ingot.facts",
        "ingot.catalog",
        "ingot.compat",
        "ingot.fleet",
        "ingot.inventory",
        "ingot.files",
        "ingot.errors",
    },
    "ingot.acceptance": {
        "ingot.sizing",
        "ingot.operations",
        "ingot.facts",
        "ingot.gateway",
        "ingot.catalog",
        "ingot.expectation",
        "ingot.files",
        "ingot.errors",
    },
    "roles": {"ingot.operations", "ingot.facts"},
    "deploy.py": {"roles"},
    "group_data": set(),
}

#: The pure parts may import nothing outside Python's standard library (the catalog also reads YAML).
PURE = {
    "ingot.sizing": set(),
    "ingot.engines": set(),
    "ingot.compat": set(),
    "ingot.catalog": {"yaml"},
    "ingot.gateway": set(),
}


def files_of(part: str) -> list[Path]:
    path = ROOT / part.replace(".", "/") if not part.endswith(".py") else ROOT / part
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    single = path if path.suffix == ".py" else path.with_suffix(".py")
    return [single] if single.exists() else []


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            module = node.module or ""
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def part_of(module: str) -> str | None:
    """The part of the house a module belongs to; None for what is not ours."""
    names = module.split(".")
    if names[0] == "ingot":
        return ".".join(names[:2])
    return names[0] if names[0] in {"roles", "group_data", "tests", "benchmarks"} else None


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_run_one_way(part: str) -> None:
    files = files_of(part)
    assert files, f"{part} has no files: correct ALLOWED"
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imports_of(path)
        if (target := part_of(module)) and target != part and target not in ALLOWED[part]
    }
    assert not wrong


@pytest.mark.parametrize("part", PURE)
def test_decisions_are_pure(part: str) -> None:
    import sys

    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files_of(part)
        for module in imports_of(path)
        if part_of(module) is None
        and module.split(".")[0] not in sys.stdlib_module_names
        and module.split(".")[0] not in PURE[part]
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
    edges = {"cli.py", "demo.py"}
    wrong = [
        path.relative_to(ROOT)
        for path in (ROOT / "ingot").rglob("*.py")
        if "sandbox" not in path.parts
        and path.name not in edges
        and any(module.startswith("ingot.sandbox") for module in imports_of(path))
    ]
    assert not wrong
