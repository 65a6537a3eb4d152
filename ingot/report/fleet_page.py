"""The fleet on one page without any outside asset: a table of all hosts, what teams used, and a section per host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from ingot.report import acceptance_page, plan_page, plan_rows
from ingot.report.alerts import FleetAlerts
from ingot.report.fleet import USAGE, Fleet, FleetHost
from ingot.report.page import document
from ingot.report.usage import Used
from ingot.runs.audit import PastRun

#: Sentences of a list that are shown; more are counted.
MOST = 12
HEADINGS = ("host", "GPUs", "serves", "driver", "containers", "acceptance", "drift", "last deploy")


def render(fleet: Fleet) -> str:
    """The page."""
    hosts = sorted(fleet.hosts, key=lambda one: one.name)
    parts = [
        f'<p class="dim">{escape(fleet.inventory)}, {fleet.at:%Y-%m-%d %H:%M} UTC</p>',
        f"<p>{escape('; '.join(_counts(hosts)))}</p>",
        _list("", fleet.errors),
        _section("Alerts", "alerts", _alerts(fleet.alerts)) if fleet.alerts.watched else "",
        _section("Hosts", "hosts", f"{_table(HEADINGS, map(_row, hosts))}\n{_legend()}"),
        _section(f"Teams, {USAGE.days} days", "teams", _usage(fleet.used, fleet.currency)),
        *map(_host, hosts),
    ]
    return document("Fleet", "\n".join(part for part in parts if part))


def _counts(hosts: Sequence[FleetHost]) -> Iterator[str]:
    replicas = [replica for one in hosts if one.plan for replica in one.plan.replicas]
    gpus = sum(len(replica.gpu_uuids) for replica in replicas)
    counted = [
        f"{count} {noun}{'' if count == 1 else 's'}"
        for count, noun in ((len(hosts), "host"), (len(replicas), "replica"), (gpus, "GPU"))
    ]
    yield "{}, {} on {}".format(*counted)
    silent = sum(one.report.error is not None for one in hosts)
    failed = sum(_verdict_of(one) == "fail" for one in hosts)
    drifted = sum(bool(one.drift and one.drift.changes) for one in hosts)
    for count, words in ((silent, "did not answer"), (failed, "failed their acceptance"), (drifted, "drifted")):
        if count:
            yield f"{count} {words}"


def _alerts(alerts: FleetAlerts) -> str:
    """What fires, with what to do; a sentence where nothing does."""
    if not alerts.firing:
        return "<p>Nothing fires.</p>"
    rows = (
        (
            escape(one.host),
            escape(f"{one.severity}, held back" if one.held_back else one.severity),
            escape(one.name),
            escape(one.since[:16].replace("T", " ")),
            escape(one.summary),
            escape(one.action if one.asks else ""),
        )
        for one in alerts.firing
    )
    return _table(("host", "severity", "alert", "since, UTC", "what", "what to do"), rows)


def _legend() -> str:
    """The colours of the bars below."""
    parts = "".join(
        f'<span><i style="background:{colour}"></i>{escape(words)}</span>' for words, colour in plan_rows.PARTS.values()
    )
    return f'<div class="legend">Memory of a GPU, in the bars below: {parts}</div>'


def _row(host: FleetHost) -> tuple[str, ...]:
    """The row of a host, as HTML."""
    _, driver, containers, serves, _ = host.report.cells()
    last = host.deploys[0] if host.deploys else None
    return (
        f'<a href="#{escape(_id(host))}">{escape(host.name)}</a>',
        "<br>".join(escape(one) for one in _gpus(host)) or "-",
        _breaks(serves),
        _breaks(driver),
        _breaks(containers),
        _verdict(_verdict_of(host)),
        escape(_drift_words(host)),
        escape(f"{last.run.started[:16].replace('T', ' ')} {last.result or 'goes on'}") if last else "-",
    )


def _gpus(host: FleetHost) -> list[str]:
    counted: dict[str, set[str]] = {}
    for replica in host.plan.replicas if host.plan else ():
        counted.setdefault(replica.gpu_name or "GPU", set()).update(replica.gpu_uuids)
    return [f"{len(uuids)} x {name}" for name, uuids in sorted(counted.items())]


def _drift_words(host: FleetHost) -> str:
    if host.drift is None:
        return "not looked at"
    if host.drift.errors:
        return "cannot be said"
    changes = sum(len(tuple(one.lines())) for one in host.drift.changes)
    return f"{changes} change{'' if changes == 1 else 's'}" if changes else "none"


def _verdict_of(host: FleetHost) -> str:
    return str(host.acceptance["verdict"]) if host.acceptance else ""


def _verdict(verdict: str) -> str:
    known = verdict if verdict in ("pass", "warn", "fail") else ""
    return f'<span class="verdict {known}">{escape(verdict)}</span>' if known else escape(verdict or "none")


def _usage(used: Mapping[tuple[str, ...], Used], currency: str) -> str:
    if not used:
        return "<p>No request was noted.</p>"
    rows = (
        (
            escape(group[0] or "-"),
            f"{one.requests:,}",
            f"{sum(one.refused.values()):,}",
            f"{one.prompt_tokens:,}",
            f"{one.completion_tokens:,}",
            f"{one.cost:,.2f}",
        )
        for group, one in sorted(used.items(), key=lambda pair: (-pair[1].cost, -pair[1].completion_tokens, pair[0]))
    )
    headings = ("team", "requests", "refused", "tokens in", "tokens out", f"cost, {currency}")
    return _table(headings, rows, numbers=range(1, 6))


def _host(host: FleetHost) -> str:
    """The section of a host."""
    parts = [
        f"<p>{escape(host.report.error)}</p>" if host.report.error else "",
        *_plan(host),
        _list("Benchmarks", (f"{model}: {speed}" for model, speed in host.benchmarks.items())),
        _acceptance(host),
        _list("Drift", _drift(host)),
        _deploys(host.deploys),
    ]
    return _section(host.name, _id(host), "\n".join(part for part in parts if part))


def _plan(host: FleetHost) -> Iterator[str]:
    shown: dict[str, int] = {}
    for replica in host.plan.replicas if host.plan else ():
        words = (
            f"{escape(f'{replica.model} {replica.variant}, {plan_rows.capacity(replica)}')}\n{plan_page.bar(replica)}"
        )
        shown[words] = shown.get(words, 0) + 1
    for words, count in shown.items():
        yield f"<div>{f'{count} x ' if count > 1 else ''}{words}</div>"


def _acceptance(host: FleetHost) -> str:
    record = host.acceptance
    if record is None:
        return ""
    head = f"<h3>Acceptance {_verdict(str(record['verdict']))}</h3>\n"
    when = f'<p class="dim">{escape(str(record["level"]))}, {escape(str(record["at"]))}</p>'
    override = record.get("override")
    given = [f"serves though it failed: {override['reason']} ({override['by']})"] if override else []
    try:
        plots = acceptance_page.short(record)
    except (KeyError, TypeError, ValueError):
        plots = ""
    return f'{head}{when}{_list("", (*given, *record["reasons"]))}<div class="plots">{plots}</div>'


def _drift(host: FleetHost) -> Iterator[str]:
    if host.drift:
        yield from host.drift.errors
        for change in host.drift.changes:
            yield from (f"{change.role}: {line}" for line in change.lines())


def _deploys(runs: Sequence[PastRun]) -> str:
    if not runs:
        return ""
    rows = (
        (
            escape(one.run.started[:16].replace("T", " ")),
            escape(one.run.owner),
            escape(one.run.commit[:10] if one.run.commit else "no repository"),
            escape(f"{one.result or 'goes on'}{f': {one.why}' if one.why else ''}"),
            escape(f"{len(one.operations)} operations changed something"),
        )
        for one in runs
    )
    return f"<h3>Last deploys from here</h3>\n{_table(('when', 'who', 'commit', 'result', 'changed'), rows)}"


def _section(title: str, name: str, body: str) -> str:
    named = escape(name)
    return (
        f'<section id="{named}" aria-labelledby="{named}-title">\n'
        f'<h2 id="{named}-title">{escape(title)}</h2>\n{body}\n</section>'
    )


def _table(headings: Iterable[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of cells that are HTML."""
    right = set(numbers)

    def cell(place: int, text: str) -> str:
        if place == 0:
            return f'<th scope="row">{text}</th>'
        return f'<td class="n">{text}</td>' if place in right else f"<td>{text}</td>"

    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in headings)
    body = "\n".join(f"<tr>{''.join(cell(place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    # What scrolls is reached by keyboard.
    return f'<div class="scroll" tabindex="0" role="group" aria-label="table">{table}</div>'


def _list(title: str, sentences: Iterable[str]) -> str:
    found = list(sentences)
    shown = found[:MOST] + ([f"and {len(found) - MOST} more"] if len(found) > MOST else [])
    items = "".join(f"<li>{escape(one)}</li>" for one in shown)
    head = f"<h3>{escape(title)}</h3>\n" if title and items else ""
    return f"{head}<ul>{items}</ul>" if items else ""


def _breaks(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _id(host: FleetHost) -> str:
    """A name for links that no section of the page itself has."""
    return f"host-{host.name}"
