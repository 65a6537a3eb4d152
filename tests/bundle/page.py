"""docs/airgap.md as a person follows it: its commands, in order, in two checkouts that know nothing of each other."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from ingot.sandbox import Paths, TestHost, aptrepo, mirror
from tests.e2e import standin_image
from tests.e2e.deploying import INGOT, PYINFRA, ROOT

#: A step of the page: its number and title, and the indented blocks below it.
_STEP = re.compile(r"^### (?P<number>\d)\. (?P<title>.+)\n(?P<text>(?:(?!##).*\n)*)", re.MULTILINE)
_BLOCK = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)
MODEL = "tiny-qwen3"
#: The same for every command of a test: a name for commits, and no settings of this machine's.
GIT = {"GIT_AUTHOR_NAME": "ops", "GIT_AUTHOR_EMAIL": "ops@site", "GIT_COMMITTER_NAME": "ops",
       "GIT_COMMITTER_EMAIL": "ops@site", "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip


def blocks() -> dict[str, list[str]]:
    """The page's commands by the number of their step."""
    page = (ROOT / "docs/airgap.md").read_text(encoding="utf-8")
    return {step["number"]: [dedent(one) for one in _BLOCK.findall(step["text"])] for step in _STEP.finditer(page)}


@dataclass(frozen=True)
class Machine:
    """One of the two machines that run Ingot: a checkout, a home of its own, and the drive that is carried."""

    checkout: Path
    home: Path
    drive: Path

    def follow(self, block: str, words: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a block of the page as it stands there, but for these words of its reader."""
        for theirs, ours in {"/media/usb": str(self.drive), **words}.items():
            block = block.replace(theirs, ours)
        return self.run(["bash", "-euo", "pipefail", "-c", block])

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        tools = f"{self.home}/bin:{INGOT.parent}:{os.environ['PATH']}"
        environment = {**os.environ, **GIT, "HOME": str(self.home), "PATH": tools}
        return subprocess.run(
            argv, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False, timeout=1700
        )

    def carried_on(self, name: str) -> None:
        """Put a file or a directory of the checkout on the drive, in place of what is there of that name."""
        self.drive.mkdir(exist_ok=True)
        source, target = self.checkout / name, self.drive / name
        shutil.rmtree(target, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)


def machines(directory: Path, gpu: TestHost, front: TestHost) -> tuple[Machine, Machine]:
    """The connected machine and the site's, both with the checkout that is tested and an inventory of two hosts."""
    connected = Machine(directory / "connected/ingot", directory / "connected", directory / "drive")
    site = Machine(directory / "site/ingot", directory / "site", directory / "drive")
    connected.checkout.mkdir(parents=True)
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True
    ).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        if (ROOT / name).is_file():
            (connected.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, connected.checkout / name)
    _inventory(connected.checkout, gpu, front)
    _values(connected.checkout, directory)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "The fleet"]):
        done = connected.run(["git", *words])
        assert done.returncode == 0, done.stderr
    done = connected.run(["git", "clone", "-q", str(connected.checkout), str(site.checkout)])
    assert done.returncode == 0, done.stderr
    for machine in (connected, site):
        _tools(machine.home / "bin", gpu)
    return connected, site


def _inventory(checkout: Path, gpu: TestHost, front: TestHost) -> None:
    prod = checkout / "inventories/prod"
    for old in prod.glob("*.yaml"):
        old.unlink()
    serve = {"serve": [{"model": MODEL, "context": 4096, "concurrency": 8, "replicas": 1}]}
    for host, own in ((gpu, {"groups": ["gpu"], **serve}), (front, {"groups": ["gateway"]})):
        file = {"address": host.address, "user": host.user, "ssh_key": str(host.key_path), **own}
        (prod / f"{host.name}.yaml").write_text(yaml.safe_dump(file))
    (prod / "known_hosts").write_text(f"{gpu.pin}\n{front.pin}\n")


def _values(checkout: Path, directory: Path) -> None:
    """What a connected machine has: the vendor's packages and the models by files here, an image of `docker save`."""
    cache = Paths.from_environment().cache
    vendor = aptrepo.source_values()["sources"]["nvidia_driver"] | {
        "uri": f"file:{cache}/mirror/apt",
        "key_url": f"file:{cache}/mirror/apt/{aptrepo.KEY_NAME}",
    }
    made = mirror.model_values()["site_models"][MODEL]
    revision = made["variants"][0]["revision"]
    models = directory / "models"
    shutil.copytree(cache / "mirror/models" / MODEL / revision, models / MODEL / revision)
    sources = {
        "nvidia_driver": vendor,
        "nvidia_toolkit": vendor,
        "models": {"kind": "mirror", "uri": f"file://{models}"},
    }
    of_test_hosts = runpy.run_path(str(ROOT / "group_data/sandbox.py"))
    values = {name: one for name, one in of_test_hosts.items() if not name.startswith("_") and name != "serve"}
    values |= {**mirror.engine_values(), **standin_image.write(directory)}
    lines = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    with (checkout / "group_data/all.py").open("a") as file:
        file.write(f"{lines}sources = {{**sources, **{sources!r}}}\n")
    (checkout / "inventories/models.site.yaml").write_text(yaml.safe_dump({MODEL: made}))


def another_revision(connected: Machine, directory: Path) -> str:
    """Have the model's owner publish a revision with other words in its tokenizer's settings, and the site name it."""
    site = connected.checkout / "inventories/models.site.yaml"
    described: dict[str, Any] = yaml.safe_load(site.read_text())
    variant = described[MODEL]["variants"][0]
    old, new = variant["revision"], "5" * 40
    shutil.copytree(directory / "models" / MODEL / old, directory / "models" / MODEL / new)
    changed = directory / "models" / MODEL / new / "generation_config.json"
    content = json.dumps({"temperature": 0.5}).encode()
    _replaced_in_manifest(changed, content)
    variant["revision"] = new
    site.write_text(yaml.safe_dump(described))
    return new


def _replaced_in_manifest(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    manifest = file.with_name("ingot-manifest.json")
    listed = json.loads(manifest.read_text())
    listed["files"] = [one for one in listed["files"] if one["path"] != file.name]
    listed["files"].append({"path": file.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    manifest.write_text(json.dumps(listed))


def _tools(directory: Path, host: TestHost) -> None:
    """`ssh` that knows the hosts as a person's ~/.ssh/config does, and `pyinfra` that asks nobody."""
    directory.mkdir(parents=True)
    *words, user_and_address = host.ssh_command()
    user = user_and_address.partition("@")[0]
    config = directory.parent / "ssh_config"
    config.write_text(f"Host {host.name}\n  HostName {host.address}\n  User {user}\n")
    ssh = " ".join(["exec", shutil.which("ssh") or "ssh", "-F", str(config), *words[3:], '"$@"'])
    (directory / "ssh").write_text(f"#!/bin/sh\n{ssh}\n")
    (directory / "pyinfra").write_text(f'#!/bin/sh\nexec {PYINFRA} -y "$@"\n')
    for tool in directory.iterdir():
        tool.chmod(0o755)
