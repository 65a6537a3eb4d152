"""Chat templates on a host: Ingot's own, and those that a site keeps on the control machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ingot.engines.vllm import HOST_TEMPLATES, OUR_TEMPLATES
from ingot.engines.vllm_arguments import template_file
from ingot.errors import IngotError
from ingot.operations import tree
from ingot.sizing import EngineArguments


def text(name: str | None) -> str | None:
    """The text of a chat template: of ours by its file name, of a site by its absolute path on this machine.

    Raises: IngotError, one sentence without the host's name, where there is none.
    """
    if name is None:
        return None
    if name in OUR_TEMPLATES:
        return OUR_TEMPLATES[name]
    if not name.startswith("/"):
        raise IngotError(
            f"chat_template is {name!r}, expected one of {', '.join(sorted(OUR_TEMPLATES))}, or the absolute path of a "
            "file on this machine; correct it."
        )
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise IngotError(f"chat_template {name} cannot be read ({error}); correct it.") from None


def entries(used: Iterable[EngineArguments]) -> list[tree.Entry]:
    """The templates that models name, where their engines read them. Raises: IngotError."""
    texts = sorted({found for one in used if (found := text(one.chat_template)) is not None})
    return [
        tree.Dir(HOST_TEMPLATES),
        *(tree.File(f"{HOST_TEMPLATES}/{template_file(one)}", one) for one in texts),
    ]
