"""tree: one look, one write, atomic, validated, and silent about secrets."""

from __future__ import annotations

import base64
import getpass
import grp
import gzip
import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import pytest

from ingot.facts.paths import PathsLook, PathState, parse_paths
from ingot.operations import bundle, tree
from ingot.operations.tree import Absent, Dir, File, Link, compare

ME, MY_GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


def mine(path: Path, content: str | bytes, mode: str = "0644", secret: bool = False) -> File:
    return File(str(path), content, ME, MY_GROUP, mode, secret)


def my_dir(path: Path, mode: str = "0755") -> Dir:
    return Dir(str(path), ME, MY_GROUP, mode)


def test_writes_everything_in_two_commands_and_the_second_run_only_looks(run_operation, tmp_path):
    entries = (
        my_dir(tmp_path / "etc", "0750"),
        mine(tmp_path / "etc/a.conf", "alpha\n"),
        mine(tmp_path / "etc/deep/er/b.bin", bytes(range(256)), "0600"),
        Link(str(tmp_path / "etc/current"), "a.conf"),
    )
    first = run_operation(tree.tree, entries)
    assert first.succeeded and first.changed
    assert len(first.commands) == 3, "a look to prepare, a look to execute, one write"
    assert (tmp_path / "etc/a.conf").read_text() == "alpha\n"
    assert (tmp_path / "etc/deep/er/b.bin").read_bytes() == bytes(range(256))
    assert (tmp_path / "etc/deep/er/b.bin").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "etc").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "etc/current").readlink() == Path("a.conf")
    assert list((tmp_path / "run").iterdir()) == []

    second = run_operation(tree.tree, entries)
    assert second.succeeded and not second.changed
    assert len(second.commands) == 2
    assert "4 paths are already as described" in second.said


def test_dry_says_each_change_and_makes_none(run_operation, tmp_path):
    (tmp_path / "old").write_text("x")
    dry = run_operation(tree.tree, (mine(tmp_path / "new", "n"), mine(tmp_path / "old", "y")), dry=True)
    assert dry.changed
    assert f"would write {tmp_path}/new (new, {ME}:{MY_GROUP} 0644, sha256 1b16b1df)" in dry.said
    assert f"would write {tmp_path}/old (sha256 2d711642 -> a1fce436)" in dry.said
    assert not (tmp_path / "new").exists() and (tmp_path / "old").read_text() == "x"


def test_diff_shows_a_text_file_but_never_a_secret_one(run_operation, tmp_path):
    (tmp_path / "plain").write_text("one\ntwo\n")
    (tmp_path / "hidden").write_text("OLD-CANARY\n")
    run = run_operation(
        tree.tree,
        (mine(tmp_path / "plain", "one\nthree\n"), mine(tmp_path / "hidden", "NEW-CANARY\n", "0600", True)),
        diff=True,
    )
    assert run.succeeded
    assert "- two" in run.said and "+ three" in run.said and run.said.count("+ three") == 1
    assert "CANARY" not in run.everything and not any("CANARY" in command for command in run.commands)
    assert "T0xELUNBTkFSW" not in run.everything, "nor in base64"
    assert "(secret, sha256 " in run.said
    assert (tmp_path / "hidden").read_text() == "NEW-CANARY\n"


def test_a_secret_is_not_in_the_operations_arguments():
    assert "hunter2" not in repr(File("/etc/x", "hunter2", secret=True))


def test_the_validator_sees_the_whole_set_and_its_refusal_changes_nothing(run_operation, tmp_path):
    (tmp_path / "a").write_text("same")
    entries = (mine(tmp_path / "a", "same"), mine(tmp_path / "b", "wrong"))
    check = f"cat {{stage}}{tmp_path}/a {{stage}}{tmp_path}/b | grep -x samewrong >/dev/null"
    refused = run_operation(tree.tree, entries, validate=f"{check} && echo b is wrong >&2 && false")
    assert not refused.succeeded
    assert "b is wrong; nothing was changed" in refused.said
    assert not (tmp_path / "b").exists()
    assert run_operation(tree.tree, entries, validate=check).succeeded
    assert (tmp_path / "b").read_text() == "wrong"


def test_a_killed_run_leaves_the_old_file_and_the_next_run_sweeps(run_operation, monkeypatch, tmp_path):
    target = tmp_path / "conf"
    target.write_text("old")
    whole = tree.SCRIPT
    monkeypatch.setattr(tree, "SCRIPT", whole.replace("  mv -fT --", "  kill -9 $$; mv -fT --"))
    killed = run_operation(tree.tree, (mine(target, "new"),))
    assert not killed.succeeded and target.read_text() == "old"
    assert list(tmp_path.glob(".ingot-*")) and list((tmp_path / "run").iterdir())
    for leftover in tmp_path.glob(".ingot-*"):
        assert leftover.stat().st_mode & 0o777 == 0o644, "already as its target will be, never wider"

    monkeypatch.setattr(tree, "SCRIPT", whole)
    healed = run_operation(tree.tree, (mine(target, "old"),))
    assert healed.succeeded and healed.changed and "left by a run that was cut off" in healed.said
    assert not list(tmp_path.glob(".ingot-*")) and not list((tmp_path / "run").iterdir())
    assert not run_operation(tree.tree, (mine(target, "old"),)).changed


def test_what_another_run_stages_at_the_same_time_is_left_alone(run_operation, tmp_path):
    """Its process is there: what it staged is not swept, neither by the look nor by the script."""
    theirs = (tmp_path / "run" / f"stage.{os.getpid()}.abcdefgh", tmp_path / f".ingot-{os.getpid()}.abcdefgh")
    dead = (tmp_path / "run" / "stage.4999999.abcdefgh", tmp_path / ".ingot-4999999.abcdefgh")
    (tmp_path / "run").mkdir(exist_ok=True)
    for stage in (theirs[0], dead[0]):
        stage.mkdir()
    for file in (theirs[1], dead[1]):
        file.write_text("half")
    assert run_operation(tree.tree, (mine(tmp_path / "conf", "x"),)).succeeded
    assert all(path.exists() for path in theirs) and not any(path.exists() for path in dead)
    assert not run_operation(tree.tree, (mine(tmp_path / "conf", "x"),)).changed


def test_a_directory_with_such_a_name_is_somebody_elses(run_operation, tmp_path):
    (tmp_path / ".ingot-settings").mkdir()
    (tmp_path / ".ingot-settings/theirs").write_text("theirs")
    (tmp_path / ".ingot-12345678").write_text("half")
    (tmp_path / ".ingot-abcdefgh").symlink_to("/nowhere")
    assert run_operation(tree.tree, (mine(tmp_path / "conf", "x"),)).succeeded
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ingot-settings", "conf", "run"]
    assert (tmp_path / ".ingot-settings/theirs").exists()


def kill_points() -> list[str]:
    """Lines of tree.sh that are one whole simple command each: a run can be killed before any of them."""
    simple = ("parent ", "mkdir ", "chown ", "chmod ", "temporary=", "printf ", "mv ", "ln ", "rm ", "stage=", ": >")
    lines = tree.SCRIPT.partition("trap 'exit 1'")[2].splitlines()
    return [line for line in lines if line.strip().startswith(simple) and not line.endswith(("||", "&&"))]


@pytest.mark.parametrize("line", kill_points(), ids=lambda line: re.sub(r"\W+", "-", line).strip("-"))
def test_a_run_killed_anywhere_leaves_old_or_new_files_and_the_next_converges(
    run_operation, monkeypatch, tmp_path, line
):
    old, new = {"a": "old a", "b": "old b"}, {"a": "new a", "b": "new b"}
    for name, text in old.items():
        (tmp_path / name).write_text(text)
    entries = (
        my_dir(tmp_path / "dir"),
        *(mine(tmp_path / name, text) for name, text in new.items()),
        Link(str(tmp_path / "link"), "a"),
    )
    whole = tree.SCRIPT
    monkeypatch.setattr(tree, "SCRIPT", whole.replace(line, f"kill -9 $$\n{line}"))
    run_operation(tree.tree, entries)
    for name in old:
        assert (tmp_path / name).read_text() in (old[name], new[name])
    monkeypatch.setattr(tree, "SCRIPT", whole)
    assert run_operation(tree.tree, entries).succeeded
    assert {name: (tmp_path / name).read_text() for name in new} == new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "dir", "link", "run"]
    assert not run_operation(tree.tree, entries).changed


def test_a_secret_is_never_readable_by_others_on_its_way(run_operation, monkeypatch, tmp_path):
    monkeypatch.setattr(tree, "SCRIPT", tree.SCRIPT.replace("&& chown --", "&& kill -9 $$ && false && chown --"))
    run_operation(tree.tree, (mine(tmp_path / "key", "k", "0640", True),))
    (leftover,) = tmp_path.glob(".ingot-*")
    (stage,) = (tmp_path / "run").iterdir()
    assert leftover.stat().st_mode & 0o777 == 0o600 and stage.stat().st_mode & 0o777 == 0o700


def test_what_is_renamed_is_on_disk_before_and_its_directory_after(run_operation, monkeypatch, tmp_path):
    """A power loss then leaves the old file or the new, and never an empty one under the name."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sync", "mv"):
        (tools / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >>{tools}/done\nexec /bin/{tool} "$@"\n')
        (tools / tool).chmod(0o755)
    monkeypatch.setattr(tree, "SCRIPT", tree.SCRIPT.replace("PATH=/usr", f"PATH={tools}:/usr"))
    assert run_operation(tree.tree, (mine(tmp_path / "a/conf", "x"), mine(tmp_path / "b/conf", "y"))).succeeded
    done = (tools / "done").read_text().splitlines()
    moves = [line.split()[-2:] for line in done if line.startswith("mv ")]
    assert [target for _, target in moves] == [f"{tmp_path}/a/conf", f"{tmp_path}/b/conf"]
    first, last = done.index(f"mv -fT -- {' '.join(moves[0])}"), done.index(f"mv -fT -- {' '.join(moves[-1])}")
    assert all(f"sync -- {temporary}" in done[:first] for temporary, _ in moves)
    assert {f"{tmp_path}/a/", f"{tmp_path}/b/"} <= {path for line in done[last:] for path in line.split()}


def test_a_directory_is_never_open_to_others_before_it_has_its_mode(run_operation, monkeypatch, tmp_path):
    cut = tree.SCRIPT.replace('[ -d "$path" ] || mkdir -- "$path"', 'mkdir -- "$path"; kill -9 $$')
    assert cut != tree.SCRIPT
    monkeypatch.setattr(tree, "SCRIPT", cut)
    run_operation(tree.tree, (my_dir(tmp_path / "tls", "0700"),))
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700


def test_parents_that_nobody_described_can_be_entered_by_all(run_operation, tmp_path):
    assert run_operation(tree.tree, (mine(tmp_path / "etc/app/conf", "x"),)).succeeded
    assert (tmp_path / "etc/app").stat().st_mode & 0o777 == 0o755


def test_a_write_that_fails_says_so_and_leaves_no_temporary_file(run_operation, tmp_path):
    entry = File(str(tmp_path / "conf"), "new", user="nobody-by-this-name")
    run = run_operation(tree.tree, (entry,))
    assert not run.succeeded and "no file was changed" in run.said and "nobody-by-this-name" in run.said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_owner_and_mode_are_corrected_without_writing(run_operation, tmp_path):
    path = tmp_path / "key"
    path.write_text("k")
    path.chmod(0o644)
    inode = path.stat().st_ino
    run = run_operation(tree.tree, (mine(path, "k", "0600", True),))
    assert run.changed and path.stat().st_mode & 0o7777 == 0o600 and path.stat().st_ino == inode


def test_absent_deletes_and_is_then_silent(run_operation, tmp_path):
    (tmp_path / "gone/deep").mkdir(parents=True)
    assert run_operation(tree.tree, (Absent(str(tmp_path / "gone")),)).changed
    assert not (tmp_path / "gone").exists()
    assert not run_operation(tree.tree, (Absent(str(tmp_path / "gone")),)).changed


def test_a_directory_where_a_file_belongs_is_refused_and_nothing_else_is_written(run_operation, tmp_path):
    (tmp_path / "conf").mkdir()
    run = run_operation(tree.tree, (mine(tmp_path / "conf", "x"), mine(tmp_path / "other", "y")))
    assert not run.succeeded and not (tmp_path / "other").exists()
    assert f"{tmp_path}/conf is a dir where a file was expected; move it away; nothing was changed" in run.said


def test_a_megabyte_travels_whole(run_operation, tmp_path):
    content = os.urandom(3_000_000)
    assert run_operation(tree.tree, (mine(tmp_path / "big", content),)).succeeded
    assert (tmp_path / "big").read_bytes() == content


@pytest.mark.parametrize("path", ["relative", "/trailing/", "/tab\there", "/twice//slash"])
def test_a_path_that_cannot_be_meant_is_a_bug_of_the_caller(path):
    with pytest.raises(ValueError, match="not an absolute path"):
        tree.check((File(path, ""),))


def test_deleting_a_directory_of_the_root_is_refused():
    with pytest.raises(ValueError, match="directory of the root"):
        tree.check((Absent("/etc"),))


def test_the_look_reads_find_and_sha256sum():
    look = parse_paths(
        "d\troot\troot\t0\t0\t755\t\t/etc/ingot\nf\troot\tadm\t0\t4\t640\t\t/etc/ingot/a b\n"
        "l\troot\troot\t0\t0\t777\ta b\t/etc/l\n",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  /etc/ingot/a b\n",
        "/etc/ingot/.ingot-abcdefgh\n",
    )
    assert look == PathsLook(
        {
            "/etc/ingot": PathState("dir", "root", "root", "0755", uid="0", gid="0"),
            "/etc/ingot/a b": PathState(
                "file",
                "root",
                "adm",
                "0640",
                sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                uid="0",
                gid="4",
            ),
            "/etc/l": PathState("link", "root", "root", "0777", target="a b", uid="0", gid="0"),
        },
        ("/etc/ingot/.ingot-abcdefgh",),
    )


def test_an_owner_may_be_given_as_a_number_whatever_the_host_calls_it():
    cache = Dir("/var/lib/x", user="2000", group="root", mode="0700")
    found = PathState("dir", "vllm", "root", "0700", uid="2000", gid="0")
    assert compare((cache,), PathsLook({cache.path: found})).steps == ()
    other = PathState("dir", "vllm", "root", "0700", uid="2001", gid="0")
    assert len(compare((cache,), PathsLook({cache.path: other})).steps) == 1


def test_directories_are_made_before_the_files_in_them():
    plan = compare((File("/a/b/c", "x"), Dir("/a/b")), PathsLook({}))
    assert [step.line[0] for step in plan.steps] == ["dir", "file"]


DIGEST = hashlib.sha256(b"new").hexdigest()
OTHER = hashlib.sha256(b"old").hexdigest()


def as_root(kind: str, mode: str = "0644", **more: str) -> PathState:
    return PathState(kind, "root", "root", mode, uid="0", gid="0", **more)


@pytest.mark.parametrize(
    ("entry", "now", "line", "sentence"),
    [
        (Dir("/a/d", mode="750"), None, "dir /a/d root root 750", "create directory /a/d (root:root 0750)"),
        (Dir("/a/d"), as_root("dir", "0755"), None, None),
        (
            Dir("/a/d"), as_root("dir", "0700"), "own /a/d root root 0755",
            "set /a/d to root:root 0755, was root:root 0700",
        ),
        (
            File("/a/f", "new"), None, "file /a/f root root 0644",
            f"write /a/f (new, root:root 0644, sha256 {DIGEST[:8]})",
        ),
        (File("/a/f", "new"), as_root("file", sha256=DIGEST), None, None),
        (
            File("/a/f", "new", secret=True), as_root("file", sha256=OTHER), "file /a/f root root 0644",
            f"write /a/f (secret, sha256 {OTHER[:8]} -> {DIGEST[:8]})",
        ),
        (
            File("/a/f", "new"), as_root("file"), "file /a/f root root 0644",
            f"write /a/f (sha256 unknown -> {DIGEST[:8]})",
        ),
        (
            File("/a/f", "new"), as_root("link", target="/b"), "file /a/f root root 0644",
            f"write /a/f (in place of a link to /b, root:root 0644, sha256 {DIGEST[:8]})",
        ),
        (
            File("/a/f", "new", user="www"), as_root("file", sha256=DIGEST), "own /a/f www root 0644",
            "set /a/f to www:root 0644, was root:root 0644",
        ),
        (
            File("/a/f", "new", group="www"), as_root("file", sha256=DIGEST), "own /a/f root www 0644",
            "set /a/f to root:www 0644, was root:root 0644",
        ),
        (Link("/a/l", "f"), None, "link /a/l f", "link /a/l -> f"),
        (Link("/a/l", "f"), as_root("link", target="f"), None, None),
        (Link("/a/l", "f"), as_root("link", target="g"), "link /a/l f", "link /a/l -> f"),
        (Link("/a/l", "f"), as_root("file", sha256=OTHER), "link /a/l f", "link /a/l -> f"),
        (Absent("/a/x"), as_root("file", sha256=OTHER), "absent /a/x", "delete /a/x"),
        (Absent("/a/x"), None, None, None),
    ],
)  # fmt: skip
def test_each_difference_is_one_step_and_one_sentence(
    entry: tree.Entry, now: PathState | None, line: str | None, sentence: str | None
) -> None:
    plan = compare((entry,), PathsLook({entry.path: now} if now else {}))
    expected = (tree.Step(tuple(line.split(" ")), sentence, entry),) if line and sentence else ()
    assert plan == tree.TreePlan(expected)


@pytest.mark.parametrize(
    ("entry", "now", "conflict"),
    [
        (Dir("/a"), as_root("link", target="/b"), "/a is a link to /b where a directory was expected; remove it"),
        (Dir("/a"), as_root("file"), "/a is a file where a directory was expected; move it away"),
        (Dir("/a"), as_root("other"), "/a is a other where a directory was expected; move it away"),
        (File("/a", ""), as_root("dir"), "/a is a dir where a file was expected; move it away"),
        (File("/a", ""), as_root("other"), "/a is a other where a file was expected; move it away"),
        (Link("/a", "b"), as_root("dir"), "/a is a directory where a link to b was expected; move it away"),
    ],
)
def test_what_would_have_to_be_deleted_first_is_a_conflict(entry: tree.Entry, now: PathState, conflict: str) -> None:
    assert compare((entry,), PathsLook({"/a": now})) == tree.TreePlan((), (conflict,))


def test_leftovers_are_swept_before_anything_else() -> None:
    plan = compare((Dir("/a/d"), Absent("/a/x")), PathsLook({"/a/x": as_root("dir")}, ("/a/.ingot-12345678",)))
    assert [step.line for step in plan.steps] == [
        ("sweep", "/a/.ingot-12345678"), ("dir", "/a/d", "root", "root", "0755"), ("absent", "/a/x"),
    ]  # fmt: skip
    assert plan.steps[0].sentence == "remove /a/.ingot-12345678, left by a run that was cut off"


@pytest.mark.parametrize("path", ["/a\nb", "/a/", "/", "a/b", "/a//b", "/X/"])
def test_paths_that_nobody_means_are_refused_whole(path: str) -> None:
    with pytest.raises(ValueError, match="is not an absolute path without trailing slash, tab or newline") as refused:
        tree.check((Dir(path),))
    assert str(refused.value).startswith(repr(path))


def test_a_path_is_described_once_and_a_name_below_a_directory_of_the_root_may_go() -> None:
    with pytest.raises(ValueError, match=r"^/a/b is described twice in one tree$"):
        tree.check((Dir("/a/b"), File("/a/c", ""), Absent("/a/b")))
    with pytest.raises(ValueError, match=r"^refusing to delete /etc: a directory of the root$"):
        tree.check((Absent("/etc"),))
    tree.check((Absent("/etc/app"), Dir("/X"), File("/aX", "")))


def members(packed: str) -> dict[str, tuple[str, int]]:
    """A payload's members: text and mode."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(packed)))) as archive:
        return {one.name: (archive.extractfile(one).read().decode(), one.mode) for one in archive}  # type: ignore[union-attr]


def test_only_what_changes_travels_and_with_a_validator_every_file() -> None:
    entries = (Dir("/a"), File("/a/f", "new"), File("/a/g", "same"))
    same = as_root("file", sha256=entries[2].sha256)
    plan = compare(entries, PathsLook({"/a/g": same}))
    text = "host\tgpu-01\ndir\t/a\troot\troot\t0755\nfile\t/a/f\troot\troot\t0644\n"
    assert members(tree.payload(plan, "gpu-01", entries, None)) == {"plan": (text, 0o600), "root/a/f": ("new", 0o600)}
    assert members(tree.payload(plan, "gpu-01", entries, "nginx -t")) == {
        "plan": (text, 0o600), "validate": ("nginx -t", 0o600), "root/a/f": ("new", 0o600), "root/a/g": ("same", 0o600),
    }  # fmt: skip
    owned = compare(entries[1:2], PathsLook({"/a/f": as_root("file", "0600", sha256=DIGEST)}))
    assert set(members(tree.payload(owned, "gpu-01", entries[1:2], "nginx -t"))) == {"plan"}, "nothing to validate"


def test_a_payload_is_the_same_for_the_same_plan_and_takes_names_of_any_length() -> None:
    long = "/etc/" + "a" * 150 + "/" + "钥" * 60
    first = bundle.pack({f"root{long}": b"x", "plan": b"y"})
    assert first == bundle.pack({f"root{long}": b"x", "plan": b"y"})
    assert members(first) == {f"root{long}": ("x", 0o600), "plan": ("y", 0o600)}
    # The time in the head of gzip's format, RFC 1952: nothing of now.
    assert base64.b64decode(first)[4:8] == bytes(4)
