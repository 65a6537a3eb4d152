"""Templates become text: `templates/<role>/<name of the remote file>.j2`, printing only, no arithmetic."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

#: Where the project keeps its templates, next to `roles/`.
TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


#: What templates are compiled by: blocks leave no blank lines, and nothing is escaped as web pages are.
RULES: Mapping[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
    "autoescape": False,
}


class Compiled(FileSystemBytecodeCache):
    """Templates that are compiled already, kept beside their sources as Python keeps modules', where it may."""

    def get_source_checksum(self, source: str) -> str:
        """What a compiled template is for: its source, the rules of this file, and Jinja's own version."""
        return hashlib.sha256("\0".join((version("jinja2"), repr(RULES), source)).encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is kept; what cannot be read is compiled anew."""
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template; a checkout that cannot be written to, or a full disk, keeps none."""
        with suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)


@cache
def environment(root: Path = TEMPLATES) -> Environment:
    """The one set of template rules: those above, and a missing value is an error."""
    return Environment(
        loader=FileSystemLoader(root),
        bytecode_cache=None if sys.dont_write_bytecode else Compiled(str(root / "__pycache__")),
        undefined=StrictUndefined,
        **RULES,
    )


def template(name: str, **values: Any) -> str:
    """The text of `templates/<name>.j2` filled with values.

    Raises: jinja2.UndefinedError when the template uses a value that was not given (a bug, caught by tests).
    """
    return environment().get_template(f"{name}.j2").render(**values)
