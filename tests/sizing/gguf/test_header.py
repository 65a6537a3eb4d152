"""Headers of GGUF files: what they say is read exactly, and no file makes the reader slow, large or surprised."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc

import pytest

from ingot.sizing.gguf.errors import AbsurdCount, CutShort, GgufError, UnknownGgufArchitecture
from ingot.sizing.gguf.header import Header, read
from ingot.sizing.gguf.parts import joined
from ingot.sizing.gguf.shape import shape_of
from ingot.sizing.gguf.tensor_types import TYPES
from tests.sizing.gguf.writing import gguf, qwen3, tensors, text

pytestmark = pytest.mark.engines


def header(raw: bytes, size: int | None = None) -> Header:
    return read(io.BytesIO(raw), len(raw) if size is None else size, "m.gguf")


def test_keys_and_tensors_are_read() -> None:
    found = header(gguf(qwen3(**{"general.alignment": 32}), tensors()))
    assert found.keys["general.architecture"] == "qwen3"
    assert found.keys["qwen3.block_count"] == 2
    assert found.lengths == {"tokenizer.ggml.tokens": 320}
    assert [tensor.name for tensor in found.tensors][:2] == ["token_embd.weight", "output_norm.weight"]
    assert found.tensors[0].bytes == 256 // 32 * 34 * 320
    assert found.data_start % 32 == 0


def test_the_beginning_of_a_file_is_enough() -> None:
    whole = gguf(qwen3(), tensors())
    beginning = gguf(qwen3(), tensors(), data=False)
    assert header(beginning, len(whole)) == header(whole)


def test_every_number_format_has_its_block() -> None:
    """The table of the fact sheet on engines, section 4."""
    bits = {name: one.block_bytes / one.block_elements for name, one in ((one.name, one) for one in TYPES.values())}
    assert bits["q8_0"] == 34 / 32 and bits["mxfp4"] == 17 / 32
    assert (bits["q2_K"], bits["q4_K"], bits["q6_K"]) == (84 / 256, 144 / 256, 210 / 256)


@pytest.mark.parametrize("kept", range(0, 460, 23))
def test_a_file_that_is_cut_short_is_named_so(kept: int) -> None:
    raw = gguf(qwen3(**{"tokenizer.ggml.tokens": ["a"]}), tensors())
    with pytest.raises(CutShort, match=r"^m\.gguf has \d+ bytes and ends within .*fetch it again"):
        header(raw[:kept] if kept >= 4 else raw[:3])


def test_a_file_without_the_end_of_its_tensors_is_cut_short() -> None:
    with pytest.raises(CutShort, match=r"tensor 'blk\.1\.attn_norm\.weight'"):
        header(gguf(qwen3(), tensors())[:-1000])


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"<html>not found</html>", GgufError, "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), GgufError, "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), GgufError, "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0), AbsurdCount, "announces 1099511627776 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), AbsurdCount, "keys"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + b"x" * 40, AbsurdCount, "for a key"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**61),
            AbsurdCount,
            "numbers in 'a'",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1) + b"x" * 9,
            GgufError,
            "elements of type 9",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77) + b"x" * 9, GgufError, "type 77"),
        (gguf({"general.alignment": 3}), GgufError, "alignment of 3"),
        (gguf({}, [("a", (2**62, 2, 2), "f32")], data=False), AbsurdCount, "the shape"),
        (gguf({}, [("a", (33,), "q8_0")]), GgufError, "rows of 33"),
        (gguf({}, [("a", (32,), "q8_0"), ("a", (32,), "q8_0")]), GgufError, "a tensor twice"),
    ],
)
def test_bad_headers_are_refused_in_a_sentence(raw: bytes, kind: type[GgufError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        header(raw)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("m.gguf ") and str(caught.value).endswith(".")


def test_no_header_makes_the_reader_large_or_surprised() -> None:
    """Bytes changed, cut and repeated at random: a typed error or a shape, in bounded memory."""
    chance = random.Random(16)
    good = gguf(qwen3(**{"tokenizer.ggml.tokens": ["a", "b"], "qwen3.attention.sliding_window": 64}), tensors())
    good = good[:2000]
    seen = set()
    tracemalloc.start()
    for _ in range(2500):
        raw = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(4, len(raw))
            raw[at : at + chance.choice((0, 1, 4, 8))] = chance.randbytes(chance.choice((1, 4, 8)))
        if chance.random() < 0.2:
            del raw[chance.randrange(len(raw)) :]
        size = chance.choice((len(raw), 2**20, 2**50))
        try:
            shape_of(joined([("m.gguf", header(bytes(raw), size))]))
            seen.add("shape")
        except GgufError as error:
            assert "\n" not in str(error)
            seen.add(type(error).__name__)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {"shape", CutShort.__name__, AbsurdCount.__name__, UnknownGgufArchitecture.__name__} <= seen
    assert peak < 32 * 2**20
