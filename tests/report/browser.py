"""Pages in the distribution's headless Chromium, what they are made of, and what axe-core finds in them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
    "--window-size=1000,600",
)
#: Installed by `make checkers`, locked with its hash.
AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
#: Each page in a frame of its own size, since one browser starts faster than several.
_FRAMES = """<!doctype html>
<title>frames</title>
<pre id="found"></pre>
<script>
const found = {};
addEventListener("message", one => {
  found[one.data.name] = one.data;
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""
_RUN = """
axe.run(document, {resultTypes: ["violations"]}).then(
  said => said.violations.map(one => ({
    rule: one.id, impact: one.impact, help: one.help, nodes: one.nodes.map(node => node.html)})),
  fault => [{rule: "axe itself", help: String(fault), nodes: []}],
).then(found => parent.postMessage({
  name: NAME, found, dark: matchMedia("(prefers-color-scheme: dark)").matches,
  beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth}, "*"));
"""


class Tree(HTMLParser):
    """What a page is made of: tags, ids, links, headings, and pictures with what they say."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.levels: list[int] = []
        self.pictures: list[str | None] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.links += [named["href"] or ""] if tag == "a" else []
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.pictures += [named.get("aria-label")] if tag == "svg" or named.get("role") == "img" else []
        self.loaded += [str(value) for name, value in attrs if name in ("src", "srcset", "data", "action")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(page: Path, profile: Path, *words: str, dark: bool = False) -> subprocess.CompletedProcess[str]:
    """Chromium's answer to a page: what its tree became (standard output), and its console (standard error)."""
    mode = ("--force-dark-mode",) if dark else ()
    command = ["chromium", *FLAGS, *mode, f"--user-data-dir={profile}", *(words or ("--dump-dom",)), page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def violations(pages: Mapping[str, str], directory: Path, *, dark: bool) -> dict[str, list[dict[str, Any]]]:
    """What axe-core finds in each page (name -> HTML), in one browser; a page loses its policy for the script.

    None of them is wider than the screen.
    """
    axe = AXE.read_text(encoding="utf-8").replace("</script", "<\\/script")
    frames = []
    for name, text in pages.items():
        told = _RUN.replace("NAME", json.dumps(name))
        script = f"<script>{axe}</script><script>{told}</script>"
        without = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", text)
        path = directory / f"{name}.html"
        path.write_text(without.replace("</body>", f"{script}</body>"), encoding="utf-8")
        frames.append(f'<iframe title="{name}" width="1000" height="600" src="{path.as_uri()}"></iframe>')
    wrapper = directory / "frames.html"
    wrapper.write_text(_FRAMES + "\n".join(frames), encoding="utf-8")
    said = shown(wrapper, directory / "profile", "--virtual-time-budget=60000", "--dump-dom", dark=dark)
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', said.stdout, re.DOTALL)
    found: dict[str, dict[str, Any]] = json.loads(unescape(text) or "{}")
    assert found.keys() == pages.keys(), said.stderr
    assert {one["dark"] for one in found.values()} == {dark}
    assert {name: one["beyond"] for name, one in found.items()} == dict.fromkeys(pages, 0), "pixels beyond the screen"
    return {name: one["found"] for name, one in found.items()}
