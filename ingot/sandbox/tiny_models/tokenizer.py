"""A byte-level tokenizer without merges: one token per byte, then the special ones."""

from collections.abc import Sequence
from typing import Any

#: The first special token's id; the others follow it.
FIRST_SPECIAL = 256


def byte_level(
    special: Sequence[str], marks: Sequence[str] = (), around: tuple[str, str] | None = None
) -> dict[str, Any]:
    """The content of tokenizer.json.

    `special` are tokens that a decoded text leaves out, `marks` such that it shows, and `around` those of the special
    ones that begin and end every text.
    """
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": FIRST_SPECIAL + index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": token in special,
            }
            for index, token in enumerate((*special, *marks))
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": _template(special, *around) if around else byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(_byte_characters())},
            "merges": [],
        },
    }


def _template(special: Sequence[str], begin: str, end: str) -> dict[str, Any]:
    """One text, or two of a pair, between special tokens."""

    def token(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [token(begin, 0), text("A", 0), token(end, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), token(end, 1)],
        "special_tokens": {
            name: {"id": name, "ids": [FIRST_SPECIAL + special.index(name)], "tokens": [name]} for name in (begin, end)
        },
    }


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies.

    Bytes that print in Latin-1 stand for themselves; the others take the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
