"""Machines that cannot have test hosts are told so in one sentence."""

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ingot.commands import demo, sandbox
from ingot.sandbox import requirements
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.paths import Paths

MOUNTINFO = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:5 / /dev rw - devtmpfs devtmpfs rw
30 21 0:40 / /var/lib rw - overlay overlay rw
31 30 254:1 / /var/lib/my\\040state rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/state", "ext4"),
        ("/var/lib/ingot-sandbox", "overlay"),
        ("/var/lib/my state/x", "xfs"),
        ("/devices", "ext4"),
    ],
)
def test_a_directory_lies_on_its_nearest_mount(path: str, kind: str) -> None:
    assert requirements.file_system(Path(path), MOUNTINFO) == kind


def test_who_is_not_root_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match=r"test hosts need root .* run it as root or with sudo"):
        requirements.check(Paths(tmp_path, tmp_path))


def test_another_system_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="test hosts need Linux, this is darwin"):
        requirements.check(Paths(tmp_path, tmp_path))


def test_a_machine_without_namespaces_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements.sys, "platform", "linux")
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "succeeds", lambda argv: argv[0] != "unshare")
    with pytest.raises(SandboxError, match="this machine forbids namespaces"):
        requirements.check(Paths(tmp_path, tmp_path))


def test_what_is_missing_is_named_as_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda name: None if name in ("nft", "ip") else f"/bin/{name}")
    assert {"nftables", "iproute2"} <= set(requirements.missing())
    assert "mmdebstrap" not in requirements.missing()


@pytest.mark.parametrize("group", [sandbox.sandbox, demo.demo], ids=["sandbox", "demo"])
def test_a_strict_umask_of_the_operator_locks_nobody_out_of_a_guest(
    group: click.Group, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path))
    before = os.umask(0o077)
    try:
        CliRunner().invoke(group, ["list" if group is sandbox.sandbox else "key-file"], catch_exceptions=False)
        assert os.umask(0o077) == 0o022
    finally:
        os.umask(before)


def test_a_busy_apt_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([CommandFailed("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7"), ""])
    calls = []

    def run(argv: list[str], *, timeout_s: float) -> str:
        calls.append(argv)
        answer = next(answers, "")
        if isinstance(answer, CommandFailed):
            raise answer
        return answer

    monkeypatch.setattr(requirements, "run", run)
    monkeypatch.setattr(requirements, "missing", lambda: ["nftables"])
    monkeypatch.setattr(requirements.time, "sleep", lambda seconds: None)
    requirements.install(lambda line: None)
    assert [next(word for word in argv if word in ("update", "install")) for argv in calls] == [
        "update",
        "update",
        "install",
    ]


def test_an_apt_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], *, timeout_s: float) -> str:
        raise CommandFailed("`apt-get update` ended with status 100: E: no route")

    monkeypatch.setattr(requirements, "run", run)
    monkeypatch.setattr(requirements, "missing", lambda: ["nftables"])
    with pytest.raises(
        SandboxError, match=r"^nftables could not be installed \(.*no route\): install them with apt-get"
    ):
        requirements.install(lambda line: None)


def test_a_machine_without_cgroup2_is_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cgroup_root() -> Path:
        raise SandboxError("this machine has no cgroup2 mounted")

    monkeypatch.setattr(requirements, "succeeds", lambda argv: True)
    monkeypatch.setattr(requirements.machine, "cgroup_root", cgroup_root)
    with pytest.raises(SandboxError, match="no cgroup2"):
        requirements.check(Paths(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "Bad_Name"], "cannot be a host name"),
        (["up", "gpu-01", "--profile", "rtx9999"], "there is no profile 'rtx9999': choose one of"),
        (["down", "nobody"], "there is no test host 'nobody'"),
        (["ssh", "nobody"], "there is no test host 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_line_refuses_in_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_SANDBOX_STATE", str(tmp_path / "state"))
    result = CliRunner().invoke(sandbox.sandbox, arguments)
    assert isinstance(result.exception, SandboxError)
    assert sentence in str(result.exception)
    assert not (tmp_path / "state").exists()


def test_all_hosts_end_only_when_that_is_said() -> None:
    for arguments in (["down"], ["down", "gpu-01", "--all"]):
        result = CliRunner().invoke(sandbox.sandbox, arguments)
        assert result.exit_code == 2 and "say which hosts to end, or --all" in result.output


def test_a_machine_that_cannot_run_the_engine_is_told_before_any_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(requirements, "CPUINFO", cpuinfo)
    monkeypatch.setattr(requirements, "check", lambda paths: None)
    monkeypatch.setattr(requirements.platform, "machine", lambda: "x86_64")
    cpuinfo.write_text("model name\t: Intel(R) Xeon(R) E5-2670\nflags\t\t: fpu sse4_2 avx\n")
    refused = CliRunner().invoke(sandbox.sandbox, ["check"])
    assert refused.exit_code != 0
    assert "this machine's processor (Intel(R) Xeon(R) E5-2670) has none" in f"{refused.exception}{refused.output}"
    cpuinfo.write_text("model name\t: Intel(R) Xeon(R) E5-2670 v3\nflags\t\t: fpu sse4_2 avx avx2\n")
    allowed = CliRunner().invoke(sandbox.sandbox, ["check"])
    assert (allowed.exit_code, allowed.output) == (0, "")
