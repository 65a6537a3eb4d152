"""What is taken away, what stays, and in which order."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pyinfra.api.config import Config
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from ingot.facts import engine, footprint
from ingot.facts.footprint import GPU_USERS, Footprint, FootprintLook, parse_footprint
from ingot.facts.models import MADE, MARKER, SET_ASIDE, SWARM_LIBRARY
from ingot.facts.sections import Section, split
from ingot.operations.departure.departure import SCRIPT, Departure, Occupied, Wish, of_group, plan
from ingot.operations.packages import SOURCES
from tests.settings.values import DEFAULTS

pytestmark = pytest.mark.onboarding

ROOT = "/srv/models"
SERVED = Footprint(
    docker=True,
    containers=("ingot-engine-a-0",),
    networks=("ingot-engine",),
    images=("sha256:aa",),
    units=("ingot-engine.service",),
    paths=(
        "/etc/ingot",
        "/var/lib/ingot",
        "/etc/modprobe.d/ingot-nvidia.conf",
        "/etc/systemd/system/nvidia-persistenced.service.d/ingot.conf",
    ),
    apt_paths=(
        "/etc/apt/sources.list.d/ingot-docker.sources",
        "/etc/apt/sources.list.d/ingot-nvidia.sources",
        "/etc/apt/sources.list.d/ingot-nvidia-toolkit.sources",
    ),
    secrets=("/etc/ingot/gateway/tls/key.pem",),
    models=("/srv/models/a/bf16/1",),
    packages=(
        "docker-ce",
        "libnvidia-container1",
        "libnvidia-ml1",
        "nginx",
        "nginx-common",
        "nvidia-driver-cuda",
        "openssh-server",
    ),
    before=frozenset({"openssh-server"}),
    nginx_is_ours=True,
)


def verbs(departure: Departure) -> list[str]:
    return [line.partition("\t")[0] for line in departure.lines]


def words(departure: Departure, verb: str) -> set[str]:
    return {word for line in departure.lines for word in line.split("\t")[1:] if line.startswith(f"{verb}\t")}


def test_nothing_goes_while_a_program_of_others_has_a_gpu_open() -> None:
    found = replace(SERVED, gpu_users=("dcgm-exporter (pid 12)",))
    with pytest.raises(Occupied, match=r"^dcgm-exporter \(pid 12\) uses the GPUs, whose driver would go; stop it, or"):
        plan(found, Wish(), ROOT)
    assert "driver" not in verbs(plan(found, Wish(keep_driver=True), ROOT))


def test_what_serves_goes_first_and_the_trace_of_ingot_last() -> None:
    departure = plan(SERVED, Wish(), ROOT)
    assert verbs(departure) == [
        "containers", "networks", "unit", "purge", "purge", "docker", "driver", "absent", "absent",
    ]  # fmt: skip
    assert departure.lines[-1].endswith("\t/var/lib/ingot")
    assert departure.stays == ("1 models below /srv/models (--wipe-models deletes them)",)
    assert len(departure.sentences) == len(departure.lines)


def test_a_supervisor_of_a_group_goes_before_the_container_that_it_would_start_again() -> None:
    found = replace(SERVED, group=("gpu-01", "gpu-02"), units=("ingot-a.timer", engine.UNIT))
    assert verbs(plan(found, Wish(), ROOT))[:4] == ["unit", "containers", "networks", "unit"]


def test_a_host_that_others_need_does_not_leave() -> None:
    item = {"model": "qwen3-32b", "context": 8192, "concurrency": 8, "hosts": ["gpu-01", "gpu-02"]}
    named = ([("gpu-01", {"serve": [item]}), ("gpu-02", {}), ("gpu-03", {})], {**DEFAULTS, "models_lock": None})
    inventory = Inventory(named)
    State(inventory, Config())
    # Also one whose own values say nothing of it.
    for name, other in (("gpu-01", "gpu-02"), ("gpu-02", "gpu-01")):
        sentence = of_group(inventory.get_host(name)) or ""
        assert sentence.startswith(f"{name}: qwen3-32b is served by it together with {other}, which could not go on")
        assert "take the item out of the `serve` of gpu-01, gpu-02, deploy those that stay" in sentence
    assert of_group(inventory.get_host("gpu-03")) is None


MONITOR = replace(
    SERVED,
    paths=(
        *SERVED.paths,
        "/etc/prometheus/ingot",
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/alertmanager.yml",
        *(f"/etc/default/{name}" for name in ("prometheus-node-exporter", "prometheus", "prometheus-alertmanager")),
    ),
    packages=(*SERVED.packages, "prometheus-node-exporter", "prometheus", "prometheus-alertmanager"),
)


def test_monitoring_goes_with_its_figures() -> None:
    departure = plan(MONITOR, Wish(), ROOT)
    assert {"prometheus-node-exporter", "prometheus", "prometheus-alertmanager"} <= words(departure, "purge")
    assert "/var/lib/prometheus/metrics2" in words(departure, "absent")
    assert departure.lines[-1].endswith("\t/var/lib/ingot")


def test_an_exporter_that_was_there_gets_its_own_files_back_and_stays() -> None:
    found = replace(MONITOR, before=frozenset({"openssh-server", "prometheus-node-exporter"}))
    departure = plan(found, Wish(), ROOT)
    assert "packaged\tprometheus-node-exporter\t/etc/default/prometheus-node-exporter" in departure.lines
    assert "prometheus-node-exporter" not in words(departure, "purge")
    assert "/etc/default/prometheus-node-exporter" not in words(departure, "absent"), "it would not start without"
    assert "prometheus-node-exporter (it was here before Ingot)" in departure.stays


def test_ingots_dcgm_exporter_goes_before_the_driver_and_anothers_stays() -> None:
    unit, package = "nvidia-dcgm-exporter.service", "datacenter-gpu-manager-exporter"
    found = replace(SERVED, packages=(*SERVED.packages, package))
    assert package not in words(plan(found, Wish(), ROOT), "purge")
    ours = plan(replace(found, paths=(*found.paths, f"/etc/systemd/system/{unit}")), Wish(), ROOT)
    assert ours.lines.index(f"purge\t{package}") < ours.lines.index(f"unit\t{unit}") < verbs(ours).index("driver")
    assert f"/etc/systemd/system/{unit}" not in words(ours, "absent"), "its step shows that the package is Ingot's"


def test_prometheus_of_others_is_left_alone() -> None:
    departure = plan(replace(SERVED, packages=MONITOR.packages), Wish(), ROOT)
    assert not {"prometheus", "prometheus-node-exporter"} & words(departure, "purge")


def test_nobody_elses_package_is_named() -> None:
    removed = words(plan(SERVED, Wish(), ROOT), "purge") | words(plan(SERVED, Wish(), ROOT), "driver")
    assert removed == {"nginx", "nginx-common", "libnvidia-container1", "libnvidia-ml1", "nvidia-driver-cuda"}


def test_a_driver_that_stays_keeps_what_guards_it() -> None:
    departure = plan(SERVED, Wish(keep_driver=True), ROOT)
    assert "driver" not in verbs(departure)
    assert words(departure, "absent") >= {"/etc/ingot", "/etc/apt/sources.list.d/ingot-nvidia-toolkit.sources"}
    assert not {path for path in words(departure, "absent") if "ingot-nvidia." in path or "persistenced" in path}


def test_docker_stays_with_the_toolkit_where_asked() -> None:
    departure = plan(SERVED, Wish(keep_docker=True), ROOT)
    assert "docker" not in verbs(departure) and words(departure, "images") == {"sha256:aa"}
    assert words(departure, "purge") == {"nginx", "nginx-common"}
    assert not {path for path in words(departure, "absent") if "docker" in path or "toolkit" in path}


def test_docker_with_somebody_elses_container_is_left_and_said() -> None:
    departure = plan(replace(SERVED, others=("container theirs", "volume data")), Wish(), ROOT)
    assert "docker" not in verbs(departure)
    assert "container theirs, volume data in it is not Ingot's" in departure.stays[0]


def test_a_docker_that_does_not_answer_is_not_emptied() -> None:
    with pytest.raises(Occupied, match="dockerd does not answer"):
        plan(replace(SERVED, docker=False, containers=()), Wish(), ROOT)


def test_a_removal_of_docker_that_was_cut_off_is_finished() -> None:
    left = replace(SERVED, docker=False, containers=(), packages=("openssh-server",), docker_goes=True)
    assert words(plan(left, Wish(), ROOT), "docker") >= {"/var/lib/docker,/var/lib/containerd"}


def test_somebody_elses_site_keeps_nginx_with_its_packages_own_configuration() -> None:
    departure = plan(replace(SERVED, sites=("/etc/nginx/conf.d/theirs.conf",)), Wish(), ROOT)
    assert "nginx" in verbs(departure) and "nginx" not in words(departure, "purge")
    assert "nginx (/etc/nginx/conf.d/theirs.conf is not Ingot's)" in departure.stays


def test_what_was_switched_off_comes_back_also_where_the_driver_stays() -> None:
    cuda = "/etc/apt/sources.list.d/cuda.list"
    departure = plan(replace(SERVED, switched_off=(("nvidia", cuda),)), Wish(keep_driver=True), ROOT)
    assert words(departure, "sources") == {"nvidia"}
    assert f"put back {cuda}, in which Ingot switched a package source off" in departure.sentences


def test_a_file_that_was_edited_since_stays_with_the_key_that_it_may_name() -> None:
    docker = "/etc/apt/sources.list.d/docker.list"
    ring = "/etc/apt/keyrings/ingot-docker.gpg"
    found = replace(SERVED, edited=(("docker", docker),), apt_paths=(*SERVED.apt_paths, ring))
    departure = plan(found, Wish(), ROOT)
    assert "sources" not in verbs(departure) and ring not in words(departure, "absent")
    assert f"{docker} (changed since Ingot switched a package source off)" in departure.stays


def test_what_was_put_aside_comes_back_and_a_part_in_others_nginx_goes() -> None:
    departure = plan(replace(SERVED, nginx_kept=True), Wish(), ROOT)
    assert words(departure, "nginx_before") == {"/var/lib/ingot/nginx-before"}
    assert "nginx" not in words(departure, "purge") and "nginx (it was here before Ingot)" in departure.stays
    part = "/etc/nginx/conf.d/zzz-ingot.conf"
    departure = plan(replace(SERVED, nginx_is_ours=False, nginx_guests=(part,)), Wish(), ROOT)
    assert words(departure, "guests") == {part} and "nginx" not in words(departure, "purge")
    assert verbs(departure).index("guests") < verbs(departure).index("absent")


def test_no_step_names_no_package() -> None:
    bare = replace(SERVED, packages=("openssh-server",))
    assert {"purge", "docker", "driver"}.isdisjoint(verbs(plan(bare, Wish(), ROOT)))


def test_keys_are_overwritten_and_models_deleted_on_request_alone() -> None:
    assert {"shred", "models"}.isdisjoint(verbs(plan(SERVED, Wish(), ROOT)))
    departure = plan(SERVED, Wish(wipe_keys=True, wipe_models=True), ROOT)
    assert words(departure, "shred") == set(SERVED.secrets)
    assert words(departure, "models") == {ROOT, *SERVED.models}
    assert verbs(departure).index("shred") < verbs(departure).index("absent")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A cache root with a model, a transfer and a quarantine of Ingot's, and everything that others could have."""
    root = tmp_path / "models"

    def directory(name: str, made_as: str | None = None, verified: bool = False) -> Path:
        made = root / name
        made.mkdir(parents=True)
        (made / "weights").write_text("x")
        if made_as:
            (made / MADE).write_text(f"{root}/{made_as}\n")
        if verified:
            (made / MARKER).write_text("{}")
        return made

    directory("a/bf16/1", "a/bf16/1", verified=True)
    directory("b/bf16/2.incomplete", "b/bf16/2")
    directory("b/bf16/2.incoming", "b/bf16/2")
    directory(".quarantine", ".quarantine")
    directory("theirs/x.incomplete")
    directory("theirs/x.incoming")
    directory("theirs/.quarantine")
    directory("theirs/copy-of-a", "a/bf16/1", verified=True)
    directory("c/bf16/3", verified=True)
    directory(SET_ASIDE)
    (root / "a/notes").write_text("theirs")
    return root


def look_at(root: Path) -> Footprint:
    """What the look finds below a root on this machine."""
    command = FootprintLook().command(cache_root=str(root))
    said = subprocess.run(["sh", "-c", command], check=True, timeout=180, capture_output=True, text=True).stdout
    return parse_footprint(split(said.splitlines()))


def tree_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_models_are_deleted_only_where_ingot_can_prove_that_it_made_them(shared: Path, tmp_path: Path) -> None:
    found = look_at(shared)
    assert {path.removeprefix(f"{shared}/") for path in found.models} == {
        "a/bf16/1", "b/bf16/2.incomplete", "b/bf16/2.incoming", ".quarantine",
    }  # fmt: skip
    departure = plan(
        replace(SERVED, models=found.models, others_models=found.others_models), Wish(wipe_models=True), "/"
    )
    assert any(f"{shared}/c/bf16/3" in kept and f"{shared}/{SET_ASIDE}" in kept for kept in departure.stays)
    before = tree_of(shared)
    leave(tmp_path, "models", str(shared), *found.models, f"{shared}/theirs")
    assert before - tree_of(shared) == {
        "a/bf16", "b", "b/bf16",
        *(path for path in before if path.startswith(("a/bf16/", "b/bf16/", ".quarantine"))),
    }  # fmt: skip
    assert look_at(shared).models == ()


def test_a_name_like_ingots_is_no_proof_where_others_write_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "logrotate.d/ingot-nginx": "# Written by Ingot (roles/gateway.py): …",
        "logrotate.d/ingots-shop": "/var/log/shop {}",
        "modprobe.d/ingot-theirs.conf": "# not written by Ingot",
        "apt.conf.d/51ingot-nvidia": "// Written by Ingot. …",
        "preferences.d/ingot-docker": "Explanation: written by Ingot",
        "preferences.d/ingot-shop": "Package: shop",
        "sources.list.d/ingot-docker.sources": "# Written by Ingot.\nSigned-By: /etc/apt/keyrings/ingot-docker.gpg",
        "sources.list.d/ingot-debian.sources": "# Written by Ingot.\nSigned-By: /usr/share/keyrings/debian.gpg",
        "sources.list.d/ingot-shop.sources": "Signed-By: /etc/apt/keyrings/ingot-shop.gpg",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    for patterns in ("SHARED_PATHS", "APT_PATHS"):
        here = tuple(re.sub(r".*/(?=[^/]+\.d/)", f"{tmp_path}/", one) for one in getattr(footprint, patterns))
        monkeypatch.setattr(footprint, patterns, here)
    found = look_at(tmp_path)
    assert [path for path in found.paths if path.startswith(str(tmp_path))] == [f"{tmp_path}/logrotate.d/ingot-nginx"]
    assert [path.removeprefix(f"{tmp_path}/") for path in found.apt_paths] == [
        "/etc/apt/keyrings/ingot-docker.gpg", "apt.conf.d/51ingot-nvidia", "preferences.d/ingot-docker",
        "sources.list.d/ingot-debian.sources", "sources.list.d/ingot-docker.sources",
    ]  # fmt: skip


def leave(tmp_path: Path, *step: str) -> None:
    """Follow one step of a departure on this machine."""
    (tmp_path / "plan").write_text("\t".join(step) + "\n")
    (tmp_path / "sources.sh").write_text(SOURCES)
    (tmp_path / "gpu_users.sh").write_text(GPU_USERS)
    script = SCRIPT.replace("systemctl daemon-reload", ":")
    subprocess.run(["sh", "-c", script, "sh", tmp_path, tmp_path / "log"], check=True, timeout=180)


@pytest.mark.parametrize("works", [True, False])
def test_nginx_gets_back_what_it_had_and_keeps_ours_where_it_would_not_take_that(tmp_path: Path, works: bool) -> None:
    nginx = tmp_path / "etc/nginx"
    kept = tmp_path / f"kept{nginx}"
    for directory in (nginx / "conf.d", kept / "conf.d"):
        directory.mkdir(parents=True)
    (nginx / "nginx.conf").write_text("# Written by Ingot")
    (kept / "nginx.conf").write_text("theirs")
    (kept / "conf.d/default.conf").write_text("welcome")
    tools = f"nginx() {{ {'true' if works else 'echo nginx: [emerg] no; false'}; }}; systemctl() {{ :; }}\n"
    script = tools + SCRIPT.replace("/etc/nginx/", f"{nginx}/").replace("systemctl daemon-reload", ":")
    (tmp_path / "plan").write_text(f"nginx_before\t{tmp_path}/kept\n")
    (tmp_path / "sources.sh").write_text(SOURCES)
    (tmp_path / "gpu_users.sh").write_text(GPU_USERS)
    command = ["sh", "-c", script, "sh", tmp_path, tmp_path / "log"]
    done = subprocess.run(command, check=False, timeout=180)
    assert (done.returncode == 0) == works, (tmp_path / "log").read_text()
    assert (nginx / "nginx.conf").read_text() == ("theirs" if works else "# Written by Ingot")
    assert (nginx / "conf.d/default.conf").read_text() == "welcome"


def test_a_deletion_of_models_that_is_cut_off_is_gone_on_with(shared: Path, tmp_path: Path) -> None:
    """Whatever is deleted first: as long as anything of Ingot's is there, so is the proof."""
    target = shared / "a/bf16/1"
    (target / "weights").unlink()
    (target / MARKER).unlink()
    assert str(target) in look_at(shared).models
    leave(tmp_path, "models", str(shared), str(target))
    assert not target.exists()


@pytest.mark.parametrize(
    ("before", "stays", "verb"),
    [
        (
            "docker.io",
            "Docker, its daemon.json and the container toolkit (docker.io was here before Ingot, which has exchanged "
            "it for docker-ce; its data are docker-ce's now)",
            "docker",
        ),
        ("containerd.io", "Docker, its daemon.json and the container toolkit (it was here before Ingot)", "docker"),
        (
            "nvidia-driver-535",
            "the driver, with its holds, pins and package source (it was here before Ingot)",
            "driver",
        ),
        ("nginx-common", "nginx (it was here before Ingot)", None),
    ],
)
def test_what_was_here_before_ingot_stays(before: str, stays: str, verb: str | None) -> None:
    """Also where Ingot has put another version, or another vendor's package, in its place."""
    departure = plan(replace(SERVED, before=frozenset({before})), Wish(), ROOT)
    assert stays in departure.stays and verb not in verbs(departure)
    assert ("nginx" in words(departure, "purge")) == ("nginx" not in before)
    kept = {"docker": "ingot-docker.sources", "driver": "ingot-nvidia.sources"}.get(verb or "")
    assert not any(kept and path.endswith(kept) for path in words(departure, "absent"))


def test_without_a_record_of_what_was_here_before_nothing_is_taken_for_ingots() -> None:
    departure = plan(replace(SERVED, before=None), Wish(), ROOT)
    assert {"docker", "driver", "purge"}.isdisjoint(verbs(departure))
    assert sum("nothing tells whether it was here before Ingot" in kept for kept in departure.stays) == 3


def test_data_that_was_here_before_docker_stays() -> None:
    departure = plan(replace(SERVED, before=frozenset({"/var/lib/containerd"})), Wish(), ROOT)
    assert "/var/lib/docker" in words(departure, "docker")


def test_packages_of_the_toolkit_stay_one_by_one() -> None:
    departure = plan(replace(SERVED, before=frozenset({"libnvidia-container1"})), Wish(), ROOT)
    assert words(departure, "purge") == {"nginx", "nginx-common"} and "docker" in verbs(departure)


def test_the_library_of_swarms_goes_unless_it_was_there_before() -> None:
    found = replace(SERVED, packages=(*SERVED.packages, SWARM_LIBRARY))
    assert SWARM_LIBRARY in words(plan(found, Wish(), ROOT), "purge")
    there = replace(found, before=frozenset({SWARM_LIBRARY}))
    assert SWARM_LIBRARY not in words(plan(there, Wish(), ROOT), "purge")


def test_a_host_that_ingot_never_was_on_loses_nothing() -> None:
    departure = plan(Footprint(docker=True, packages=("docker-ce", "nvidia-driver-cuda", "nginx")), Wish(), ROOT)
    assert departure.lines == ()
    assert "no /var/lib/ingot to tell" in departure.stays[0]


def test_a_look_tells_ours_from_others() -> None:
    said = {
        "docker": "29.0.0",
        "containers": "ingot-engine-a-0\tsha256:aa\tingot-engine\ntheirs\tsha256:bb\t\nalike\tsha256:bb\tingot-shop",
        "networks": "ingot-engine",
        "volumes": "data",
        "images": "sha256:aa\tvllm/vllm-openai:v1\nsha256:bb\tredis:7\nsha256:cc\tvllm/vllm-openai:v0",
        "known_images": "sha256:cc",
    }
    said["before"] = "docker-ce\nnginx"
    names = (
        "units",
        "paths",
        "apt_paths",
        "secrets",
        "models",
        "others_models",
        "packages",
        "switched_off",
        "docker_goes",
        "docker_config",
        "snap_stopped",
        "nginx",
        "logs",
        "sites",
    )
    found = parse_footprint({**{name: Section("", 1) for name in names}, **{k: Section(v) for k, v in said.items()}})
    assert found.containers == ("ingot-engine-a-0",) and found.images == ("sha256:aa", "sha256:cc")
    assert found.others == ("container theirs", "container alike", "volume data", "image redis:7")
    assert found.before == {"docker-ce", "nginx"}
    assert found.docker and not found.docker_goes


def test_a_docker_that_was_there_gets_its_own_daemon_json_back() -> None:
    there = replace(SERVED, before=frozenset({"docker-ce"}), docker_config="as written")
    departure = plan(there, Wish(), ROOT)
    assert words(departure, "daemon_json") == {"/var/lib/ingot/docker-before.json"}
    assert "Docker and the container toolkit (it was here before Ingot)" in departure.stays
    changed = plan(replace(there, docker_config="changed"), Wish(), ROOT)
    assert "daemon_json" not in verbs(changed)
    assert any("which somebody has changed since Ingot did" in what for what in changed.stays)
    assert "daemon_json" not in verbs(plan(replace(there, before=frozenset({"nginx"})), Wish(keep_docker=True), ROOT))


def test_what_gave_way_to_docker_comes_back_with_its_end() -> None:
    podman = plan(replace(SERVED, before=frozenset({"podman", "podman-docker"})), Wish(), ROOT)
    assert words(podman, "again") == {"podman-docker"} and verbs(podman).index("again") > verbs(podman).index("docker")
    assert "again" not in verbs(
        plan(replace(SERVED, before=frozenset({"podman-docker"})), Wish(keep_docker=True), ROOT)
    )
    assert "snap" in verbs(plan(replace(SERVED, snap_stopped=True), Wish(), ROOT))
    assert "snap" not in verbs(plan(SERVED, Wish(), ROOT))
