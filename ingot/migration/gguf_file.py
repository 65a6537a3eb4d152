"""What a GGUF file of a setup says of itself: context it was trained for, and whether Ingot can size it."""

from __future__ import annotations

from pathlib import Path

from ingot.sizing import SizingError
from ingot.sizing.gguf.parts import read_model
from ingot.sizing.gguf.shape import architecture_of, shape_of


def trained_context(file: Path) -> tuple[int | None, str | None]:
    """The context that the file's model was trained for, and a sentence where it cannot be sized."""
    try:
        model = read_model(file)
        context = model.keys.get(f"{architecture_of(model)}.context_length")
        shape_of(model)
    except SizingError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{file} cannot be read ({error.strerror})."
    return context if isinstance(context, int) else None, None
