"""HTTP/1.1 as it comes from a socket: heads and bodies read to the byte, and what is none refused."""

from __future__ import annotations

import asyncio

import pytest

from ingot.gateway.filter import wire
from ingot.gateway.filter.wire import BadMessage, Body, Head, TooLarge

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300)]


def reader(*pieces: bytes, limit: int = wire.LARGEST_HEAD) -> asyncio.StreamReader:
    """A connection on which these bytes come, and then its end."""
    made = asyncio.StreamReader(limit=limit)
    for piece in pieces:
        made.feed_data(piece)
    made.feed_eof()
    return made


def head_of(raw: bytes) -> Head:
    async def read() -> Head:
        return await wire.read_head(reader(raw))

    return asyncio.run(read())


def test_a_head_is_its_line_and_its_headers() -> None:
    assert head_of(b"POST /v1/x HTTP/1.1\r\nContent-Length: 12\r\nX-A:  b: c \r\nX-\xe9: \xe9\r\n\r\nrest") == Head(
        ("POST", "/v1/x", "HTTP/1.1"), {"content-length": "12", "x-a": "b: c", "x-é": "é"}
    )
    assert head_of(b"HTTP/1.1 404 Not Found At All\r\n\r\n").line == ("HTTP/1.1", "404", "Not Found At All")
    assert head_of(b"HTTP/1.1 404\r\n\r\n").line == ("HTTP/1.1", "404", "")
    assert head_of(b"A b c\r\nX-A: 1\r\nX-A: 2\r\n\r\n").headers == {"x-a": "2"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET /x HTTP/1.1\r\n",
        b"GET\r\n\r\n",
        b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\nName : x\r\n\r\n",
        b"GET /x HTTP/1.1\r\n folded: x\r\n\r\n",
        *(
            b"GET /x HTTP/1.1\r\n%b: 1\r\n%b: 1\r\n\r\n" % (name, name.upper())
            for name in (b"content-length", b"content-type", b"transfer-encoding", b"x-ingot-team")
        ),
        b"GET /x HTTP/1.1\r\nX: " + b"x" * wire.LARGEST_HEAD + b"\r\n\r\n",
    ],
)
def test_what_is_no_head_is_refused(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        head_of(raw)


@pytest.mark.parametrize(("told", "length"), [({}, None), ({"content-length": "0"}, 0), ({"content-length": "12"}, 12)])
def test_a_length_is_a_number_or_not_told(told: dict[str, str], length: int | None) -> None:
    assert Head(("POST", "/", ""), told).length == length


@pytest.mark.parametrize("told", ["", "-1", "+1", "1.0", "0x1", "1 2", "²", "١"])
def test_what_is_no_number_is_refused(told: str) -> None:
    with pytest.raises(BadMessage):
        _ = Head(("POST", "/", ""), {"content-length": told}).length
    with pytest.raises(BadMessage):
        _ = Head(("HTTP/1.1", told, ""), {}).status


def test_a_status_is_the_second_word() -> None:
    assert Head(("HTTP/1.1", "200", "201"), {}).status == 200


def body(**headers: str) -> Body:
    return Body(Head(("HTTP/1.1", "200", ""), {name.replace("_", "-"): value for name, value in headers.items()}))


CHUNKED = b"3;ext=1\r\nabc\r\n a \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_chunks_are_put_together_however_they_are_cut(size: int) -> None:
    made, out = body(transfer_encoding="chunked"), b""
    for place in range(0, len(CHUNKED), size):
        assert not made.ended
        out += made.feed(CHUNKED[place : place + size])
    assert (out, made.ended) == (b"abc0123456789", True)
    assert made.feed(b"more") == b"" and made.feed(b"") == b""


@pytest.mark.parametrize(
    "raw",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"3\r\nabc0\r\n\r\n", b"f" * 257, b"0x3\r\nabc", b"1_0\r\n"],
)
def test_what_are_no_chunks_is_refused(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        body(transfer_encoding="chunked").feed(raw)


def test_a_size_may_come_in_pieces_of_up_to_256_bytes() -> None:
    made = body(transfer_encoding="chunked")
    assert made.feed(b"3;" + b"x" * 254) == b"" and made.feed(b"\r\nabc") == b"abc"


def test_a_body_by_its_length_ends_there() -> None:
    made = body(content_length="5")
    assert (made.feed(b"ab"), made.ended) == (b"ab", False)
    assert (made.feed(b"cde"), made.ended) == (b"cde", True)
    assert body(content_length="0").ended
    with pytest.raises(BadMessage):
        body(content_length="5").feed(b"abcdef")
    with pytest.raises(BadMessage):
        body(content_length="5").feed(b"")


def test_a_body_of_no_told_length_ends_with_its_connection() -> None:
    made = body()
    assert (made.feed(b"ab"), made.ended) == (b"ab", False)
    assert (made.feed(b""), made.ended) == (b"", True)
    with pytest.raises(BadMessage):
        body(transfer_encoding="chunked").feed(b"")


def test_another_coding_than_chunks_is_refused() -> None:
    for coding in ("gzip", "gzip, chunked", ""):
        with pytest.raises(BadMessage):
            body(transfer_encoding=coding)


def whole(largest: int, made: Body, *pieces: bytes) -> bytes:
    async def read() -> bytes:
        return await wire.whole(reader(*pieces), made, largest)

    return asyncio.run(read())


def test_a_whole_body_is_as_large_as_allowed_and_no_larger() -> None:
    assert whole(5, body(content_length="5"), b"abcde") == b"abcde"
    assert whole(13, body(transfer_encoding="chunked"), CHUNKED) == b"abc0123456789"
    assert whole(5, body()) == b""
    with pytest.raises(TooLarge):
        whole(4, body(content_length="5"), b"abcde")
    with pytest.raises(BadMessage):
        whole(9, body(content_length="5"), b"abcd")


def test_a_connection_that_breaks_is_no_whole_body() -> None:
    async def read() -> bytes:
        broken = asyncio.StreamReader()
        broken.set_exception(ConnectionResetError())
        return await wire.whole(broken, body(content_length="5"), 9)

    with pytest.raises(BadMessage):
        asyncio.run(read())


@pytest.mark.parametrize(("sent", "length", "left"), [(10, 4, 6), (10, 10, 0), (10, 20, 0), (200_000, 150_000, 50_000)])
def test_what_is_discarded_is_read_and_no_more(sent: int, length: int, left: int) -> None:
    async def read() -> int:
        connection = reader(b"x" * sent)
        await wire.discard(connection, length)
        return len(await connection.read())

    assert asyncio.run(read()) == left


def test_what_is_written() -> None:
    assert wire.head("GET / HTTP/1.1", [("A", "b"), ("Empty", ""), ("C", "é")]) == (
        b"GET / HTTP/1.1\r\nA: b\r\nC: \xe9\r\n\r\n"
    )
    lines = {status: wire.answer_line(status) for status in (200, 400, 404, 413, 429, 418)}
    assert lines == {
        200: "HTTP/1.1 200 OK", 400: "HTTP/1.1 400 Bad Request", 404: "HTTP/1.1 404 Not Found",
        413: "HTTP/1.1 413 Content Too Large", 429: "HTTP/1.1 429 Too Many Requests", 418: "HTTP/1.1 418 Answer",
    }  # fmt: skip
    assert wire.chunk(b"0123456789") == b"a\r\n0123456789\r\n" and wire.LAST_CHUNK == b"0\r\n\r\n"
