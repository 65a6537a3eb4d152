"""servers.csv: one server per row, onboarded together; a row that is wrong stops no other."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ingot.errors import IngotError
from ingot.inventory.member_name import is_member_name

#: Columns; only the first two are needed. What is empty is taken from the command line.
COLUMNS = ("name", "address", "user", "port", "jump", "ssh_config", "fingerprint")


@dataclass(frozen=True, slots=True)
class Server:
    """One row. None where the row says nothing."""

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    jump: str | None = None
    ssh_config: Path | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and the sentence about it."""

    name: str
    sentence: str


def read(path: Path) -> tuple[Server | BadRow, ...]:
    """The rows of a file. Raises: IngotError when it cannot be read, or is no such table."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise IngotError(f"{path}: cannot be read ({error}); name a CSV file.") from None


def parse(text: str, path: Path) -> tuple[Server | BadRow, ...]:
    """The rows of a table with a heading; `;` and tabs divide columns too, `#` begins a remark.

    Raises: IngotError when the heading is wrong, since no row can be read then.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()[:1] not in ("", "#")]
    if not lines:
        raise IngotError(f"{path}: no server in it; begin with the line `name,address`, then one line per server.")
    delimiter = next((one for one in ",;\t" if one in lines[0][1]), ",")
    heading = [cell.strip().lower() for cell in _cells(lines[0][1], delimiter)]
    _check_heading(heading, path)
    rows = [(number, dict(zip(heading, _cells(line, delimiter), strict=False))) for number, line in lines[1:]]
    if not rows:
        raise IngotError(f"{path}: a heading and no server; add one line per server.")
    names = Counter(row.get("name", "") for _, row in rows)
    places = Counter((row.get("address", ""), row.get("port", "") or "22") for _, row in rows)
    return tuple(_row(number, row, names, places, path) for number, row in rows)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader(io.StringIO(line), delimiter=delimiter))]


def _check_heading(heading: Sequence[str], path: Path) -> None:
    for column in heading:
        if "password" in column:
            raise IngotError(f"{path}: a column {column!r}; passwords belong into no file: use --password-stdin.")
        if column not in COLUMNS:
            close = get_close_matches(column, COLUMNS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise IngotError(f"{path}: unknown column {column!r}{hint}, expected of {', '.join(COLUMNS)}; correct it.")
    missing = [column for column in COLUMNS[:2] if column not in heading]
    if missing:
        raise IngotError(f"{path}: no column {missing[0]!r}, expected at least `name,address`; add it.")


def _row(
    number: int, row: dict[str, str], names: Counter[str], places: Counter[tuple[str, str]], path: Path
) -> Server | BadRow:
    name, address, port = row.get("name", ""), row.get("address", ""), row.get("port", "")
    where = f"{name or path.name}: line {number} of {path}"
    if not is_member_name(name):
        return BadRow(name or f"line {number}", f"{where} names {name!r}, expected a-z, 0-9, '-' and '.'; correct it.")
    if not address:
        return BadRow(name, f"{where} has no address; add it.")
    if names[name] > 1:
        return BadRow(name, f"{where} has a name that another line has too; give every server its own.")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        return BadRow(name, f"{where} has port {port!r}, expected 1 to 65535; correct it.")
    # Behind different jump hosts the same private address may well be two servers.
    if not row.get("jump") and places[address, port or "22"] > 1:
        return BadRow(name, f"{where} has the address {address}, which another line has too; correct one.")
    return Server(
        name,
        address,
        row.get("user") or None,
        int(port) if port else None,
        row.get("jump") or None,
        Path(row["ssh_config"]) if row.get("ssh_config") else None,
        row.get("fingerprint") or None,
    )
