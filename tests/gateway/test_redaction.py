"""What counts as personal data, and that a text cut anywhere is redacted as the whole is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ingot.gateway import personal_data
from ingot.gateway.filter.checks import luhn, mod_11_2
from ingot.gateway.filter.json_text import JsonRedactor
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules
from ingot.gateway.patterns import bounded
from ingot.gateway.teams import Team

pytestmark = pytest.mark.gateway

SITE = {
    "staff": bounded(r"ST-[0-9]{6}(?![0-9])", 9),
    "project": bounded(r"\bPRJ(?:-[A-Z]{2,4}|_\d{1,3}){1,2}", 13),
    "lazy": bounded(r"(?<![a-z])q(?:ab|a|[0-9]{0,2}?z)", 4),
}
CASES = json.loads((Path(__file__).parent / "data" / "redaction_cases.json").read_text(encoding="utf-8"))
STORED = personal_data.rules(SITE, {})
RULES = Rules.from_dicts(STORED)
BUILT_IN = Rules.from_dicts(personal_data.rules({}, {}))

#: From the standard's own examples and issuers' published test numbers.
CAUGHT = {
    "resident-id": [
        "11010519491231002X",
        "11010519491231002x",
        "440524188001010014",
        "110105 19491231 002X",
        "110105194912310021",
        "1101 0519 4912 3100 2X",
        "110105491231002",
    ],
    "mobile": [
        "13800138000",
        "+8613800138000",
        "+86 138-0013-8000",
        "0086 13800138000",
        "138 0013 8000",
        "138-00138000",
        "１３８００１３８０００",
        "１３８－００１３－８０００",
        "𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎",
    ],
    "bank-card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "6222020200123456788",
        "3782 822463 10005",
    ],
    "passport": ["E12345678", "EA1234567", "G12345678", "ＥＡ１２３４５６７", "H12345678", "C1234567800"],
    "staff": ["ST-123456"],
}
LEFT_ALONE = [
    "1380013800",
    "138001380001",
    "5f13800138000",
    "13800138000b7",
    "12800138000",
    "4111111111111112",
    "1732320000000",
    "3.14159265358979",
    "2024-11-23 13:30",
    "E1234567890",
    "ST-1234567",
    "订单20241123000001",
]
AROUND = ["", "手机", "号码：", " ", "（", "\n"]


def whole(text: str) -> str:
    """The text redacted in one piece."""
    return in_pieces(Redactor(RULES), [text])


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    inner = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *inner], [*inner, len(text)], strict=True)]


def in_pieces(redactor: Redactor | JsonRedactor, pieces: list[str]) -> str:
    return "".join(map(redactor.feed, pieces)) + redactor.end()


near = st.sampled_from(
    [one for examples in CAUGHT.values() for one in examples]
    + LEFT_ALONE
    + ["PRJ-AB_12", "PRJ_1", "qab", "q12z", "+86", "86", "手机", "😀", " ", "-", "1", "X"]
)
texts = st.lists(near | st.text("0123456789 -+Xx年EAPRJST_qabz８", max_size=6) | st.text(max_size=3)).map("".join)
cuts = st.lists(st.integers(0, 400), max_size=12)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, found in CAUGHT.items() for text in found])
def test_what_is_personal_is_replaced_next_to_any_script(name: str, text: str) -> None:
    for before in AROUND:
        for after in AROUND:
            assert in_pieces(Redactor(RULES), [before + text + after]) == f"{before}[redacted:{name}]{after}"


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_only_resembles_it_is_left_alone(text: str) -> None:
    assert in_pieces(Redactor(RULES), [text]) == text


@settings(max_examples=400, deadline=None)
@given(texts, cuts)
@example("138001380001 13800138000", [5, 11, 12])
def test_a_text_cut_anywhere_is_redacted_as_the_whole(text: str, places: list[int]) -> None:
    assert in_pieces(Redactor(RULES), cut(text, places)) == whole(text)


def repeated(pattern: str, least: int, more: int) -> str:
    return f"(?:{pattern}){{{least},{least + more}}}"


#: Patterns of every construct that is allowed, over so few letters that they often nearly match.
patterns = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "[a-b]c?"]),
    lambda inner: (
        st.builds("{}{}".format, inner, inner)
        | st.builds("(?:{}|{})".format, inner, inner)
        | st.builds(repeated, inner, st.integers(0, 2), st.integers(1, 2))
        | st.builds("(?:{}){{1,2}}?".format, inner)
    ),
    max_leaves=5,
)
guarded = st.builds(
    "{}{}{}".format, st.sampled_from(["", "(?<!a)", r"\b"]), patterns, st.sampled_from(["", "(?!b)", r"\b"])
)


@settings(max_examples=400, deadline=None)
@given(guarded, guarded, st.text("abc -", max_size=24))
def test_any_patterns_are_searched_for_in_pieces_as_in_the_whole(first: str, second: str, text: str) -> None:
    site = {}
    for name, pattern in (("first", first), ("second", second)):
        shortest, longest = re._parser.parse(pattern).getwidth()  # type: ignore[attr-defined]
        assume(shortest > 0 and longest <= 60)
        try:
            site[name] = bounded(pattern, 60)
        except ValueError as heavy:
            assert "too many ways" in str(heavy)
            assume(False)
    stored = personal_data.rules(site, {})[len(personal_data.BUILT_IN) :]
    rules, out, place = Rules.from_dicts(stored), "", 0
    while place < len(text):
        found = next((one for rule in stored if (one := re.compile(rule["pattern"]).match(text, place))), None)
        out += "#" if found else text[place]
        place = found.end() if found else place + 1
    assert re.sub(r"\[redacted:[a-z]+\]", "#", in_pieces(Redactor(rules), list(text))) == out


@settings(deadline=None)
@given(texts)
def test_letter_by_letter_is_redacted_as_the_whole(text: str) -> None:
    assert in_pieces(Redactor(RULES), list(text)) == whole(text)


def test_ordinary_text_is_held_back_for_a_word_at_most() -> None:
    redactor = Redactor(RULES)
    assert [redactor.feed(piece) for piece in ("The", " weather", "今天", " is", " fine.", " So")] == [
        "",
        "The ",
        "weather今天",
        " ",
        "is ",
        "fine. ",
    ]
    assert redactor.end() == "So"
    redactor = Redactor(RULES)
    assert redactor.feed("手机1380") == "手机"
    assert redactor.feed("0") == ""
    assert redactor.feed("年初") == "13800年初"


@pytest.mark.parametrize("share", ["whole", 1, 2, 3, 7])
def test_the_list_of_texts_is_redacted_as_a_compliance_officer_signs(share: str | int) -> None:
    """Recall of 95 % and false alarms of 3 % are what is promised; the list holds every way of writing that we know."""
    parts = missed = negatives = taken = 0
    for case in CASES:
        text = case["text"]
        size = len(text) if isinstance(share, str) else share
        out = in_pieces(Redactor(BUILT_IN), [text[at : at + size] for at in range(0, len(text), size)])
        parts += len(case["find"])
        missed += sum(part in out for part in case["find"])
        negatives += not case["find"]
        taken += not case["find"] and out != text
    assert parts >= 250
    assert negatives >= 150
    assert missed <= parts * 0.05
    assert taken <= negatives * 0.03


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("订单 20241123001 的收件电话是13800138000", "mobile"),
        ("卡号 4111111111111112", "bank-card"),
        ("旧证 110105491231002", "resident-id"),
    ],
)
def test_words_before_a_number_raise_its_confidence(text: str, name: str) -> None:
    assert f"[redacted:{name}]" in whole(text)


@pytest.mark.parametrize(
    "text",
    ["订单号13800138000", "总价 13800138000 元", "IP203.0.113.77 版本 8.8.8.8", "v203.0.113.77", "型号 E12345678"],
)
def test_words_before_a_number_lower_its_confidence(text: str) -> None:
    assert whole(text).count("[redacted") == ("IP203" in text)


def test_a_rule_with_a_higher_threshold_takes_only_what_is_more_certain() -> None:
    strict = Rules.from_dicts([{"name": "mobile", "number": True, "threshold": 0.9}])
    assert in_pieces(Redactor(strict), ["13800138000, 手机13800138000"]) == "13800138000, 手机[redacted:mobile]"


values = st.recursive(
    st.none()
    | st.booleans()
    | texts
    | st.sampled_from([13800138000, -13800138000, 138.5, 13800138000.25, 4111111111111111, 1e25, 110105194912310021]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


class Number(str):
    """A number as it is written."""


def read(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def redacted_value(value: Any) -> Any:
    """The plain reference for JSON: every string by itself, and a number that holds a match as a whole."""
    if isinstance(value, Number):
        found = re.search(r"\[redacted:[a-z-]+\]", whole(value))
        return found.group() if found else value
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [redacted_value(one) for one in value]
    if isinstance(value, dict):
        return {whole(key): redacted_value(one) for key, one in value.items()}
    return value


def with_escapes(text: str, every: int) -> str:
    """The same JSON with some characters of its strings written as escapes."""

    def escape(found: re.Match[str]) -> str:
        one = found.group()
        return f"\\u{ord(one):04x}" if len(one) == 1 and ord(one) < 0xD800 and ord(one) % every == 0 else one

    return re.sub(
        r'"(?:[^"\\]|\\.)*"', lambda s: '"' + re.sub(r"\\u....|\\.|.", escape, s.group()[1:-1], flags=re.S) + '"', text
    )


@settings(max_examples=400, deadline=None)
@given(values, cuts, st.integers(1, 4), st.sampled_from([None, 1]), st.booleans())
def test_json_text_stays_json_and_hides_nothing_in_escapes(
    value: Any, places: list[int], every: int, indent: int | None, ascii_only: bool
) -> None:
    text = with_escapes(json.dumps(value, indent=indent, ensure_ascii=ascii_only), every)
    assert read(in_pieces(JsonRedactor(RULES), cut(text, places))) == redacted_value(read(text))


@settings(deadline=None)
@given(texts.map(lambda text: text.replace('"', "'")) | st.text(alphabet='{}[]",:\\u0138 1', max_size=40), cuts)
def test_json_text_that_is_none_is_redacted_the_same_however_it_is_cut(text: str, places: list[int]) -> None:
    assert in_pieces(JsonRedactor(RULES), cut(text, places)) == in_pieces(JsonRedactor(RULES), [text])


@settings(deadline=None)
@given(st.integers(200, 300), st.sampled_from(["", "-", " 13800138000", ' "x"']), cuts)
def test_numbers_that_no_one_means_are_redacted_the_same_however_they_are_cut(
    length: int, after: str, places: list[int]
) -> None:
    text = "[" + "+." * (length // 2) + "13800138000" + "+" * (length % 7) + after + "]"
    assert in_pieces(JsonRedactor(RULES), cut(text, places)) == in_pieces(JsonRedactor(RULES), [text])
    assert "13800138000" not in in_pieces(JsonRedactor(RULES), list(text))


@pytest.mark.parametrize(
    "number", ["1.3800138e10", "13800138000e0", "13800138000.0", "-1380013800E+1", "138001380000e-1"]
)
def test_a_number_is_what_it_means_however_it_is_written(number: str) -> None:
    text = in_pieces(JsonRedactor(RULES), list(f'{{"tel": {number}, "x": 1.5e3, "y": 1e400}}'))
    assert text == '{"tel": "[redacted:mobile]", "x": 1.5e3, "y": 1e400}'


def test_json_text_that_is_none_is_redacted_all_the_same() -> None:
    for text in ("call 13800138000 now", '{"a": "13800138000', '{"a": "\\u00313800138000'):
        assert "3800138000" not in in_pieces(JsonRedactor(RULES), [text])


@settings(deadline=None)
@given(st.integers(10**12, 10**18))
def test_check_digits_hold_for_one_last_digit_in_ten(number: int) -> None:
    assert [luhn(f"{number}{digit}") for digit in range(10)].count(True) == 1


@settings(deadline=None)
@given(st.integers(10**16, 10**17 - 1))
def test_an_identity_number_has_one_check_character(number: int) -> None:
    assert [mod_11_2(f"{number}{digit}") for digit in "0123456789X"].count(True) == 1


@pytest.mark.parametrize(
    ("pattern", "max_length", "says"),
    [
        ("[0-9", 9, "is no regular expression"),
        ("[0-9]*", 9, "can match the empty text"),
        ("a[0-9]+", 9, "can match more than its max_length of 9"),
        ("[0-9]{4,12}", 9, "can match more than its max_length of 9"),
        ("(?i)st", 9, "sets flags"),
        ("^st", 9, "uses ^"),
        ("(a)\\1", 9, "a back reference"),
        ("a(?=b)c", 9, "a guard in its middle"),
    ],
)
def test_a_pattern_that_no_stream_can_be_searched_for_is_one_sentence(pattern: str, max_length: int, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        bounded(pattern, max_length)
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:a{1,20}){1,20}b",
        "(?:(?:ab){1,9}){1,9}c",
        "x{1,5}(?:[a-m]{1,9}|[k-z]{1,9}){1,9}!",
        "[a-z]{0,99}[a-z]{0,99}[a-z]{0,99}x",
        "(?:a?){99}a{99}",
        "(?:a|a){1,40}b",
        "(?:){0,4000000}a",
        "(?:(?:[^@]{1,5}){1,5}@){1,9}#",
    ],
)
def test_a_pattern_that_a_text_could_keep_the_filter_busy_with_is_one_sentence(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^can match a text in too many ways") as error:
        bounded(pattern, 512)
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    "pattern",
    [
        r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}",
        r"(?<![0-9])(?:\d{1,3}\.){3}\d{1,3}(?![0-9])",
        r"[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?",
        r"sk-[a-z0-9-]{1,32}-[A-Za-z0-9_-]{43}",
        r"[\u4e00-\u9fff]{2,8}(?:省|市)[\u4e00-\u9fff]{2,20}(?:区|县)",
    ],
)
def test_patterns_that_people_write_are_light_enough(pattern: str) -> None:
    assert bounded(pattern, 512).pattern == pattern


def team(**asked: Any) -> Team:
    return Team("sales", requests_per_minute=60, burst=6, concurrency=4, max_body_bytes=1 << 20, **asked)


def test_the_rules_file_holds_what_each_team_asked_for() -> None:
    stored = json.loads(personal_data.rules_file([team(redact=("all",), check_requests="refuse")], {}, 1024, {}))
    names = [rule["name"] for rule in stored["rules"]]
    assert names == list(personal_data.BUILT_IN)
    assert stored["teams"]["sales"] == {
        "redact": names,
        "check": names,
        "check_redacts": False,
        "tokens_per_minute": None,
        "tokens_per_day": None,
        "tokens_per_month": None,
    }
