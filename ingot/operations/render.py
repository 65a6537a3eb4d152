"""Templates become text: `templates/<role>/<name of the remote file>.j2`, printing only, no arithmetic."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

#: Where the project keeps its templates, next to `roles/`.
TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


@cache
def environment(root: Path = TEMPLATES) -> Environment:
    """The one set of template rules: a missing value is an error, blocks leave no blank lines."""
    return Environment(
        loader=FileSystemLoader(root),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Configuration files, not web pages: escaping would corrupt them.
        autoescape=False,
    )


def template(name: str, **values: Any) -> str:
    """The text of `templates/<name>.j2` filled with values.

    Raises: jinja2.UndefinedError when the template uses a value that was not given (a bug, caught by tests).
    """
    return environment().get_template(f"{name}.j2").render(**values)
