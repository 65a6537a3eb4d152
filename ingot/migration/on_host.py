"""What runs on a host, as `ingot.facts.running_setup` saw it, becomes the setups of its models."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ingot.errors import IngotError
from ingot.facts.running_setup import PROGRAMS, RunningProgram
from ingot.migration import lm_studio, ollama, tgi
from ingot.migration.reading import Settings, from_words
from ingot.migration.setup import Setup

TITLES = {"lmstudio": "LM Studio", "ollama": "Ollama", "tgi": "TGI"}


def setups_on(host: str, program: str, found: RunningProgram, only: str | None = None) -> list[Setup]:
    """The models that a program serves on a host. Raises: IngotError where it does not, or says too little."""
    try:
        if program == "lmstudio" and found.files:
            with _laid_out(found) as folder:
                return lm_studio.from_folder(folder, Settings(), only, headers=False)
        if not found.processes:
            raise IngotError(
                f"no process of {TITLES[program]} ({PROGRAMS[program][0]}) runs there, expected one; give its flags, "
                "its file or its store instead."
            )
        if program == "tgi":
            return [tgi.setup_of(_settings(words, variables, tgi.PROGRAM)) for words, variables in found.processes]
        words, variables = found.processes[0]
        if program == "ollama" and found.store:
            with _laid_out(found) as store:
                return ollama.from_store(store, Settings(variables=variables), only, headers=False)
        settings = _settings(words, variables, program)
        return [(ollama if program == "ollama" else lm_studio).from_settings(settings, only)]
    except IngotError as error:
        raise IngotError(f"{host}: {error}") from None


def _settings(words: tuple[str, ...], variables: object, program: str) -> Settings:
    """Flags and variables; the words up to the program's own name start it."""
    begins = next((index for index, word in enumerate(words) if program in word), 0)
    read = from_words(words[begins + 1 :], tgi.SWITCHES if program == tgi.PROGRAM else frozenset())
    return Settings(read.flags, dict(variables) if isinstance(variables, dict) else {}, read.words)


@contextmanager
def _laid_out(found: RunningProgram) -> Iterator[Path]:
    """The small files of a store, and empty ones where others lie, in a directory that ends with the block."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        if found.store:
            try:
                with tarfile.open(fileobj=io.BytesIO(found.store)) as archive:
                    archive.extractall(root, filter="data")
            except (tarfile.TarError, OSError) as error:
                raise IngotError(f"its store could not be read over SSH ({error}): give the store itself.") from None
        for name in found.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        yield root
