"""One HTML file without any outside asset, as every page of a report is."""

from __future__ import annotations

from html import escape

#: Nothing is loaded, and browsers hold the page to it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #666; }
@media (prefers-color-scheme: dark) { :root { --dim: #a3a3a3; } }
/* Said, though browsers would take the same: who measures contrast reads it here. */
html { background: Canvas; color: CanvasText; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem; border-top: 1px solid var(--line);
  padding-top: 1rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .2rem 0; } .dim { color: var(--dim); }
.bar { display: flex; height: 1.7rem; border-radius: 4px; overflow: hidden; margin: .4rem 0; }
.bar span { min-width: 2px; } .gpu { display: grid; grid-template-columns: 5rem 1fr; align-items: center; gap: .5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .3rem 0 .6rem; }
.legend i, td i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .2rem .7rem .2rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
svg .small { font-size: 10px; } figcaption { color: var(--dim); }
.verdict { font-weight: 600; padding: .05rem .5rem; border-radius: 4px; color: #fff; white-space: nowrap; }
.pass { background: #2a7a3a; } .warn { background: #8a5a00; } .fail { background: #b91c1c; }
a { color: inherit; } a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid #4269d0;
  outline-offset: 2px; }
.scroll { overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .6rem; margin: .6rem 0; }
.numbers dt { color: var(--dim); } .numbers dd { margin: 0; font-size: 1.3rem; font-weight: 600; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 0 2rem; }
.panels th[scope=row] { font-weight: normal; }
h4 { font-size: 1rem; margin: .8rem 0 0; } .panel { min-width: 0; }
svg.key { width: 1.75rem; height: .6rem; margin-right: .4rem; }
@media print { body { max-width: none; margin: 0; } section, figure, .panel, tr { break-inside: avoid; }
  .scroll { overflow: visible; } .bar, .verdict, i { print-color-adjust: exact; } }
details summary { cursor: pointer; } details p { margin-left: 1.1rem; color: var(--dim); }
figure { margin: 1rem 0; } svg { max-width: 44rem; width: 100%; font-size: 12px; fill: currentColor; }
code { font-size: .92em; } .misfit { border-left: 4px solid #d33; padding-left: 1rem; }
"""


def document(title: str, body: str) -> str:
    """A whole page: `body` is HTML, `title` text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>Ingot: {escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
