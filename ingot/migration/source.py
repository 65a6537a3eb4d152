"""What `--from` names: flags, a file, or a store, read by what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ingot.errors import IngotError
from ingot.migration import lm_studio, ollama, tgi
from ingot.migration.reading import Settings, from_file, from_words
from ingot.migration.setup import Setup

PROGRAMS = ("lmstudio", "ollama", "tgi")


def setups(program: str, words: Sequence[str], only: str | None = None) -> list[Setup]:
    """The models of a running setup: `words` are its flags, or one file, or the directory of its store.

    Raises: IngotError where they say too little.
    """
    path = Path(words[0]).expanduser() if len(words) == 1 and not words[0].startswith("-") else None
    if path is not None and path.is_dir():
        if program == "ollama":
            return ollama.from_store(path, Settings(), only)
        if program == "lmstudio":
            return lm_studio.from_folder(path, Settings(), only)
        raise IngotError(f"{path} is a directory, expected the flags of TGI or the file that starts it.")
    named, switches = {
        "lmstudio": (lm_studio.PROGRAM, lm_studio.SWITCHES),
        "ollama": (ollama.PROGRAM, frozenset[str]()),
        "tgi": (tgi.PROGRAM, tgi.SWITCHES),
    }[program]
    if path is not None and path.is_file():
        settings = from_file(path, named, switches)
    elif path is not None and program == "tgi" and "=" not in words[0]:
        raise IngotError(f"{words[0]} is not there: give the file that starts TGI, or its flags.")
    elif not words:
        raise IngotError("nothing to read: give flags, a Compose file, a unit or a script, or the store of its models.")
    else:
        settings = from_words(words, switches)
    if program == "tgi":
        return [tgi.setup_of(settings)]
    return [(ollama if program == "ollama" else lm_studio).from_settings(settings, only)]
