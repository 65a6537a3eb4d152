"""Errors in a GGUF file. The text of each is one sentence for the person who gave the file."""

from __future__ import annotations

from ingot.sizing.errors import ConfigError, UnknownArchitecture


class GgufError(ConfigError):
    """The file is no GGUF file that a version of llama.cpp could load."""


class CutShort(GgufError):
    """The file ends before what its header announces: a download that stopped, or another file's header."""


class AbsurdCount(GgufError):
    """The header announces more than any file of its size can hold, or than any model has."""


class MissingPart(GgufError):
    """One part of a split set is not there, or the parts are not of one set."""


class UnknownGgufArchitecture(GgufError, UnknownArchitecture):
    """The file's architecture keeps a cache whose size Ingot cannot compute exactly, so it does not guess."""
