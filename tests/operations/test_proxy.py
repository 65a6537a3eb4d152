"""The site's proxy: what Ingot fetches goes through it, its login stays hidden, and what is wrong with it is said."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.way_out import WayOut, parse_way_out
from ingot.operations import proxy
from ingot.operations.containers import proxy as dockerd
from ingot.operations.preflight import way_out
from ingot.operations.tree import Absent, File
from ingot.settings.proxy import Proxy
from tests.operations import proxies
from tests.settings.values import host, settings

pytestmark = pytest.mark.cache

PASSWORD = "p%w:'x $y"


@dataclass(frozen=True)
class Site:
    """A proxy that asks for a login, one that opens TLS, and two servers; `seen` are the Via of what came to them."""

    login: str
    opening: str
    ca: Path
    http: str
    https: str
    seen: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home, seen, files = tmp_path_factory.mktemp("proxies"), [], {"/key": b"a key\n"}
    ca, opens = proxies.opening(home)
    both = proxies.certificate(home)
    refuses = ("--plugins", "proxy.plugin.FilterByUpstreamHostPlugin", "--filtered-upstream-hosts", "refused.example")
    trusts = ("--ca-file", home / "server.crt")
    with (
        proxies.running("--basic-auth", f"user:{PASSWORD}", log=home / "login.log") as login,
        proxies.running(*map(str, (*opens, *trusts, *refuses)), log=home / "opening.log") as opening,
        proxies.server(files, seen) as plain,
        proxies.server(files, seen, both) as tls,
    ):
        yield Site(f"http://127.0.0.1:{login}", f"http://127.0.0.1:{opening}", ca, f"{plain}/key", f"{tls}/key", seen)


@pytest.fixture
def login_file(tmp_path: Path) -> str:
    (tmp_path / "login").write_text(f"user:{PASSWORD}\n")
    return str(tmp_path / "login")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the CA is kept: apt reads it there as a user of its own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        monkeypatch.setattr(proxy, "HOME", made)
        yield Path(made)


def curl(value: Proxy, address: str) -> subprocess.CompletedProcess[str]:
    script = f"{proxy.shell(value)}exec curl -sSf --max-time 20 {shlex.quote(address)}"
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=180, check=False)


def found(value: Proxy, address: str) -> list[str]:
    """What preflight says: the fact's own command, run on this machine."""
    clean = {name: one for name, one in os.environ.items() if not name.lower().endswith("_proxy")}
    line = ["sh", "-c", WayOut().command(address)]
    done = subprocess.run(
        line, input=proxy.shell(value), capture_output=True, text=True, timeout=90, env=clean, check=True
    )
    return list(way_out.findings(value, address, WayOut().process(done.stdout.splitlines())))


def test_what_is_fetched_goes_through_a_proxy_with_a_login(site: Site, login_file: str, home: Path):
    site.seen.clear()
    done = curl(Proxy(uri=site.login, login_file=login_file), site.http)
    assert done.stdout == "a key\n" and "proxy.py" in site.seen[-1], done.stderr
    here = site.http.replace(proxies.NAME, proxies.ADDRESS)
    near = curl(Proxy(uri=site.login, login_file=login_file, direct=(proxies.ADDRESS,)), here)
    assert near.stdout == "a key\n" and site.seen[-1] == "", "what is near is reached without it"
    assert "407" in curl(Proxy(uri=site.login), site.http).stderr


def test_a_proxy_that_opens_tls_is_trusted_by_what_ingot_fetches_alone(site: Site, home: Path):
    done = curl(Proxy(uri=site.opening, ca_file=str(site.ca)), site.https)
    assert done.stdout == "a key\n", done.stderr
    assert (home / "proxy-ca.pem").stat().st_mode & 0o777 == 0o644
    assert "certificate" in curl(Proxy(uri=site.opening), site.https).stderr


def test_preflight_passes_a_proxy_that_works(site: Site, login_file: str, home: Path):
    assert found(Proxy(uri=site.login, login_file=login_file), site.http) == []
    assert found(Proxy(uri=site.opening, ca_file=str(site.ca)), site.https) == []
    assert found(Proxy(uri=site.opening), site.http.replace("/key", "/gone")) == [], (
        "the source's fault, said elsewhere"
    )


def test_a_proxy_that_asks_for_a_login_is_one_sentence(site: Site, tmp_path: Path, home: Path):
    asked = f"proxy {site.login} asks for a login, expected none; give one by login_file of `proxy`"
    assert found(Proxy(uri=site.login), site.http) == found(Proxy(uri=site.login), site.https) == [asked]
    (tmp_path / "wrong").write_text("user:other")
    (said,) = found(Proxy(uri=site.login, login_file=str(tmp_path / "wrong")), site.https)
    assert said.startswith(f"proxy {site.login} does not take the login of {tmp_path / 'wrong'}, expected")


def test_a_proxy_that_is_away_refuses_or_opens_tls_is_named(site: Site, home: Path):
    (away,) = found(Proxy(uri="http://127.0.0.1:9"), site.https)
    assert away.startswith("proxy http://127.0.0.1:9 is not to be reached (Could not connect to 127.0.0.1:9")
    (refused,) = found(Proxy(uri=site.opening), "https://refused.example/key")
    assert refused.startswith(f"proxy {site.opening} refuses https://refused.example/key (418 I'm a tea pot), expected")
    (opened,) = found(Proxy(uri=site.opening), site.https)
    assert opened.startswith(f"{site.https} comes through proxy {site.opening} with a certificate that is not trusted")
    assert opened.endswith("where the proxy opens TLS, give its CA by ca_file of `proxy`")


def test_the_reason_is_apts_own():
    said = "Err:1 http://a/x\nW: odd\nE: Failed to fetch http://a/x  407  Proxy [IP: 1.2.3.4 80]\nE: Download Failed"
    assert parse_way_out(said) == "407  Proxy [IP: 1.2.3.4 80]"
    assert parse_way_out("Get:1 http://a/x [9 B]\nFetched 9 B in 0s") == ""


def test_dockerd_has_it_from_a_file_of_roots_and_nothing_stays_of_it(login_file: str, site: Site):
    entries = dockerd.entries(Proxy(uri="http://proxy:3128", login_file=login_file, ca_file=str(site.ca)))
    (variables,) = (one for one in entries if isinstance(one, File) and one.path == dockerd.VARIABLES)
    assert (variables.mode, variables.secret) == ("0600", True)
    assert variables.bytes.decode().splitlines() == [
        "HTTP_PROXY=http://user:p%25w%3A%27x%20%24y@proxy:3128",
        "HTTPS_PROXY=http://user:p%25w%3A%27x%20%24y@proxy:3128",
        "NO_PROXY=localhost,127.0.0.1,::1",
        f"SSL_CERT_DIR={dockerd.TRUSTED}",
    ]
    others = [one.bytes for one in entries if isinstance(one, File) and not one.secret]
    assert others and not any(b"%25w" in one or b"PRIVATE" in one for one in others)
    assert {one.path for one in dockerd.entries(None) if isinstance(one, Absent)} == set(dockerd.FILES)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("login_file", "no colon", "holds no login, expected one line USER:PASSWORD"),
        ("login_file", "a:b\nc:d", "holds no login, expected one line USER:PASSWORD"),
        ("ca_file", "no PEM", "holds no certificate, expected the proxy's CA as PEM"),
        ("ca_file", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(name: str, text: str | None, words: str, tmp_path: Path):
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(IngotError) as refused:
        proxy.shell(Proxy.model_validate({"uri": "http://proxy:3128", name: str(path)}))
    assert str(refused.value).startswith(f"{name} {path} of `proxy` {words}") and (text or "\n") not in str(
        refused.value
    )


@pytest.mark.parametrize("uri", ["proxy:3128", "https://proxy:3128", "http://user:secret@proxy:3128", "http://proxy/x"])
def test_an_address_is_refused_that_is_none_or_holds_a_login(uri: Any):
    with pytest.raises(Exception, match="the address of an HTTP proxy"):
        settings(proxy={"uri": uri})


def test_what_is_asked_for_lies_behind_the_proxy():
    values = settings(proxy={"uri": "http://proxy:3128", "direct": [".corp.example"]})
    near, far = ("https://hub.corp.example", "https://hub.example")
    assert way_out._is_direct(near, [".corp.example"]) and not way_out._is_direct(far, ["corp.example"])
    assert values.proxy is not None and values.proxy.direct == (".corp.example",)
    assert host(proxy=None).data.proxy is None
