"""How much personal data the filter finds, and what it takes by mistake, on a list of texts.

    .venv/bin/python benchmarks/redaction.py [CASES.json] [--json] [--library]

CASES.json is a list of {"text": ..., "find": [parts that must go, or none]}; without it, the project's own list. Each
text goes through the filter whole, and as a stream in pieces of 1, 2, 3 and 7 characters. It prints one object: recall
is the share of parts that no longer stand in the answer, false_alarms the share of texts without personal data that
were changed. With --library the same list is judged by presidio-analyzer's pattern recognisers beside it, where this
Python has that package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from ingot.gateway import personal_data
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules

CASES = Path(__file__).parent.parent / "tests" / "gateway" / "data" / "redaction_cases.json"
PIECES = (1, 2, 3, 7)


def redacted(rules: Rules, pieces: list[str]) -> str:
    """The text of these pieces as a caller gets it."""
    redactor = Redactor(rules)
    return "".join(map(redactor.feed, pieces)) + redactor.end()


def judged(cases: list[dict[str, Any]], answer: Callable[[str], str]) -> dict[str, Any]:
    """What `answer` makes of every text: the figures, and every part that it missed or text that it changed."""
    missed, taken, parts, negatives = [], [], 0, 0
    for case in cases:
        out = answer(case["text"])
        parts += len(case["find"])
        missed += [{"text": case["text"], "part": part, "answer": out} for part in case["find"] if part in out]
        if not case["find"]:
            negatives += 1
            if out != case["text"]:
                taken.append({"text": case["text"], "answer": out})
    return {
        "positives": parts,
        "recall": round(1 - len(missed) / parts, 4) if parts else None,
        "negatives": negatives,
        "false_alarms": round(len(taken) / negatives, 4) if negatives else None,
        "missed": missed,
        "taken": taken,
    }


def evaluation(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The filter's own figures, with every text whose stream differs from its whole."""
    rules = Rules.from_dicts(personal_data.rules({}, {}))
    differs = [
        {"text": text, "pieces": size}
        for text in (case["text"] for case in cases)
        for size in PIECES
        if redacted(rules, [text[at : at + size] for at in range(0, len(text), size)]) != redacted(rules, [text])
    ]
    found = judged(cases, lambda text: redacted(rules, [text]))
    return {**found, "stream_differs": len(differs), "differing": differs}


def by_library(cases: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The figures of presidio-analyzer's recognisers that need no language model; None where it is not installed."""
    try:
        from presidio_analyzer import PatternRecognizer, predefined_recognizers
    except ImportError:
        return None
    recognisers = []
    for name in dir(predefined_recognizers):
        kind = getattr(predefined_recognizers, name)
        if isinstance(kind, type) and issubclass(kind, PatternRecognizer) and kind is not PatternRecognizer:
            try:
                recognisers.append(kind())
            except Exception:
                continue

    def answer(text: str) -> str:
        found = [
            one
            for recogniser in recognisers
            for one in recogniser.analyze(text, recogniser.supported_entities, None)
            if one.score >= 0.4
        ]
        for one in sorted(found, key=lambda one: -one.start):
            text = f"{text[: one.start]}#{text[one.end :]}"
        return text

    return judged(cases, answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="?", type=Path, default=CASES)
    parser.add_argument("--json", action="store_true", help="Print the object alone, on one line.")
    parser.add_argument("--library", action="store_true", help="Judge presidio-analyzer on the same list.")
    asked = parser.parse_args()
    cases = json.loads(asked.cases.read_text(encoding="utf-8"))
    result = evaluation(cases)
    if asked.library:
        other = by_library(cases)
        result["library"] = other and {key: other[key] for key in ("positives", "recall", "negatives", "false_alarms")}
    print(json.dumps(result, ensure_ascii=False, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
