"""A repository that others describe too: their description is used where it is right, and gives way elsewhere."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingot.facts.apt_sources import SourceFile
from ingot.facts.packages import AptLook, DescribedSources
from ingot.operations.described_sources import Others, others, place
from ingot.operations.package_source import Source
from ingot.operations.packages import compare

FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
URI = "https://download.docker.com/linux/debian"
DOCKER = Source("docker", URI, "trixie", "stable", f"{URI}/gpg", FINGERPRINT, "amd64")
RIGHT, WRONG = "/etc/apt/keyrings/docker.asc", "/usr/share/keyrings/other.gpg"
LIST, SOURCES = "/etc/apt/sources.list.d/docker.list", "/etc/apt/sources.list.d/docker.sources"
OFF = f"# Switched off by Ingot, see {DOCKER.path}: "
STANZA = f"Types: deb\nURIs: {URI}\nSuites: trixie\nComponents: stable\nSigned-By: {WRONG}\n"


def described(*files: tuple[str, str], pending: Sequence[str] = ()) -> DescribedSources:
    keyrings = {RIGHT: (FINGERPRINT,), WRONG: ("F" * 40,)}
    return DescribedSources(tuple(SourceFile(*one) for one in files), keyrings, "amd64", tuple(pending))


def edited(path: str, text: str) -> str:
    (edit,) = others(DOCKER, described((path, text))).edits
    assert edit.path == path
    return edit.content.decode()


@pytest.mark.parametrize(
    "line",
    [
        f"deb [arch=amd64 signed-by={RIGHT}] {URI} trixie stable",
        f"deb [ signed-by={RIGHT} arch=amd64,arm64 ] {URI}/ trixie stable test # by hand",
        f"deb [signed-by={RIGHT}] https://DOWNLOAD.docker.com:443/linux/debian trixie stable\r",
    ],
)
def test_a_right_description_is_used_as_it_is(line: str) -> None:
    assert others(DOCKER, described((LIST, f"{line}\n"))) == Others(used=LIST)
    assert compare(AptLook({}, described=described((LIST, f"{line}\n"))), (), (DOCKER,)).lines == ()


def test_a_right_stanza_is_used_as_it_is() -> None:
    text = STANZA.replace(WRONG, RIGHT) + "X-Repolib-Name: Docker\n"
    assert others(DOCKER, described((SOURCES, text))) == Others(used=SOURCES)


def test_ours_goes_where_theirs_is_right() -> None:
    look = AptLook({}, digests={DOCKER.path: "0" * 64}, described=described((SOURCES, STANZA.replace(WRONG, RIGHT))))
    plan = compare(look, (), (DOCKER,))
    assert plan.lines == (f"unsource\t{DOCKER.path}\t{DOCKER.keyring}",)
    assert plan.sentences == (f"use package source docker as {SOURCES} describes it",)


@pytest.mark.parametrize(
    "line",
    [
        f"deb {URI} trixie stable",
        f"deb [arch=amd64 signed-by={WRONG}] {URI} trixie stable",
        f"deb [signed-by=/usr/share/keyrings/gone.gpg] {URI} trixie stable",
        f"deb [signed-by={RIGHT},{WRONG}] {URI} trixie stable",
        f"deb [signed-by={RIGHT} trusted=yes] {URI} trixie stable",
        f"deb [signed-by={FINGERPRINT}] {URI}/ trixie stable\r",
    ],
)
def test_a_line_that_trusts_others_is_switched_off_and_kept_word_for_word(line: str) -> None:
    before = f"# mine\n{line}\ndeb https://other.example/debian trixie main\n"
    assert edited(LIST, before) == f"# mine\n{OFF}{line}\ndeb https://other.example/debian trixie main\n"


@pytest.mark.parametrize(
    "text",
    [
        f"# deb [signed-by={WRONG}] {URI} trixie stable\n",
        f"deb [signed-by={WRONG}] {URI} bookworm stable\n",
        f"deb [signed-by={WRONG}] http://download.docker.com/linux/debian trixie stable\n",
        "deb cdrom:[Debian GNU/Linux 13 _Trixie_]/ trixie main\n",
        "deb https://ppa.launchpadcontent.net/graphics-drivers/ppa/ubuntu noble main\n",
        "not a line of apt's\n",
    ],
)
def test_what_apt_reads_as_something_else_is_left_alone(text: str) -> None:
    assert others(DOCKER, described((LIST, text))) == Others()


@pytest.mark.parametrize("value", ["no", "No", "false", "0", "off"])
def test_what_is_switched_off_already_is_left_alone(value: str) -> None:
    assert others(DOCKER, described((SOURCES, f"Enabled: {value}\n{STANZA}"))) == Others()


def test_more_than_ingot_wants_stays_with_its_key() -> None:
    line = f"deb [arch=amd64 signed-by={WRONG} trusted=yes] {URI} trixie stable test"
    source = f"deb-src [signed-by={WRONG}] {URI} trixie stable"
    kept = edited(LIST, f"{line}\n{source}\n").splitlines()
    assert kept == [
        f"# Given another key by Ingot, see {DOCKER.path}: {line}",
        f"deb [arch=amd64 signed-by={DOCKER.keyring}] {URI} trixie stable test",
        f"# Given another key by Ingot, see {DOCKER.path}: {source}",
        f"deb-src [signed-by={DOCKER.keyring}] {URI} trixie stable",
    ]


def test_a_stanza_is_switched_off_with_all_else_in_it() -> None:
    text = f"# how it came\n{STANZA}Enabled: yes\n\n{STANZA.replace('trixie', 'sid')}"
    assert edited(SOURCES, text) == (
        f"# Changed by Ingot, see {DOCKER.path}.\n# how it came\n{STANZA}Enabled: no\n\n"
        f"{STANZA.replace('trixie', 'sid')}"
    )


def test_of_a_stanza_for_several_the_others_stay() -> None:
    other = "https://other.example/debian"
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----\n"
    text = f"Types: deb\nURIs: {URI}\n {other}\nSuites: trixie sid\nComponents: stable\n{key}"
    head = f"# Changed by Ingot, see {DOCKER.path}.\n"
    assert edited(SOURCES, text) == (
        f"{head}Types: deb\nComponents: stable\n{key}URIs: {URI}\nSuites: sid\n\n"
        f"Types: deb\nComponents: stable\n{key}URIs: {other}\nSuites: trixie sid\n"
    )


def test_sources_of_packages_are_fetched_on_with_ingots_key() -> None:
    text = STANZA.replace("Types: deb\n", "Types: deb deb-src\n")
    kept = edited(SOURCES, text)
    assert "Types: deb deb-src\n" in kept and f"Signed-By: {DOCKER.keyring}\n" in kept and WRONG not in kept


def test_files_keep_their_line_ends_and_their_odd_bytes() -> None:
    text = STANZA.replace("\n", "\r\n") + "\r\n# caf\udce9\r\n"
    (edit,) = others(DOCKER, described((SOURCES, text))).edits
    assert edit.content.count(b"\n") == edit.content.count(b"\r\n") and edit.content.endswith(b"# caf\xe9\r\n")
    assert b"Enabled: no\r\n" in edit.content


def test_ingots_own_description_under_another_name_goes() -> None:
    older = "/etc/apt/sources.list.d/ingot-older.sources"
    text = f"# Written by Ingot.\n{STANZA}"
    assert others(DOCKER, described((older, text))) == Others(stale=(older,))
    assert others(DOCKER, described((older, STANZA))).edits
    assert others(DOCKER, described((DOCKER.path, text))) == Others()


def test_two_of_theirs_that_differ_both_give_way() -> None:
    right, wrong = f"deb [signed-by={RIGHT}] {URI} trixie stable\n", STANZA
    found = others(DOCKER, described((LIST, right), (SOURCES, wrong)))
    assert [edit.path for edit in found.edits] == [LIST, SOURCES]


def test_addresses_are_compared_by_what_they_fetch() -> None:
    flat = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64"
    assert place(flat, "/", "amd64") == place(f"{flat}/", "./", "amd64")
    assert place("https://x.example/deb/$(ARCH)", "/", "arm64") == place("https://x.example/deb/arm64", "/", "arm64")
    assert place("https://x.example:8443/deb", "/", "amd64") != place("https://x.example/deb", "/", "amd64")
    assert place("https://x.example:port/", "/", "amd64") == ("https://x.example:port/", "/")


def test_a_source_that_was_cut_off_before_it_was_proven_is_added_again() -> None:
    settled = AptLook(
        {}, digests={DOCKER.path: _sha(DOCKER.text)}, keyrings={DOCKER.keyring: (FINGERPRINT,)}, described=described()
    )
    cut = AptLook({}, digests=settled.digests, keyrings=settled.keyrings, described=described(pending=["docker"]))
    assert compare(settled, (), (DOCKER,)).lines == ()
    assert [line.split("\t")[0] for line in compare(cut, (), (DOCKER,)).lines] == ["source"]


def test_theirs_goes_in_the_step_in_which_ours_comes() -> None:
    plan = compare(AptLook({}, described=described((SOURCES, STANZA))), (), (DOCKER,))
    assert [line.split("\t")[:2] for line in plan.lines] == [["theirs", "docker"], ["source", "docker"]]
    assert plan.sentences[0] == f"switch off what {SOURCES} says of package source docker, and keep a copy"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (LIST, f"deb [signed-by={WRONG}] {URI} trixie stable test\n"),
        (SOURCES, STANZA),
        (SOURCES, STANZA.replace("deb\n", "deb deb-src\n")),
        (SOURCES, STANZA.replace("trixie", "trixie sid").replace("\n", "\r\n")),
    ],
)
def test_apt_itself_reads_the_result(tmp_path: Path, path: str, text: str) -> None:
    """And would not have read both together."""

    def readable(name: str, theirs: str) -> bool:
        parts = tmp_path / name
        parts.mkdir()
        (parts / Path(path).name).write_text(theirs, newline="")
        (parts / Path(DOCKER.path).name).write_text(DOCKER.text)
        options = {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": str(parts)}
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(["apt-get", "indextargets", *given], capture_output=True, timeout=180, check=False)
        return done.returncode == 0

    assert not readable("before", text)
    assert readable("after", edited(path, text))


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
