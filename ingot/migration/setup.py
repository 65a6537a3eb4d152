"""A running setup as far as its flags, files or store say: what it serves, for which workload, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """One model of a setup.

    `model` is what the setup calls it (a repository, a directory, a name of a store). `context` is of one sequence and
    None where nothing says it; so is `concurrency`. `gguf` is the GGUF file that holds it ("": a name that does not
    say which), of the hub `repository` where that is known. `differences` are sentences on what will not be as it was.
    """

    model: str
    context: int | None = None
    concurrency: int | None = None
    weights: str | None = None
    repository: str | None = None
    gguf: str | None = None
    trained_context: int | None = None
    differences: tuple[str, ...] = ()
