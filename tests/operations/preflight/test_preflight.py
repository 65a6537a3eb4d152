"""Preflight finds everything that would stop a deploy, and nothing on a host that is fine."""

from dataclasses import replace
from typing import Any

import pytest

from ingot.catalog import peaks
from ingot.compat import Flavour
from ingot.facts.docker import Container, DockerState
from ingot.facts.driver import DriverState, Kernel, Os
from ingot.facts.engine import EngineState
from ingot.facts.host import HostState, Listener, Mount, Space
from ingot.facts.nvidia import GpuReport
from ingot.facts.pci import PciDevice, PciReading
from ingot.facts.schema import SCHEMA
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.smi_query import QueryRow
from ingot.facts.xid import SwitchError, Xid
from ingot.operations.gpus_on_bus import expected
from ingot.operations.preflight.disk_space import DOCKER_ROOT, GIB, TMP, image_root
from ingot.operations.preflight.findings import Wanted, findings
from ingot.operations.preflight.notices import conversions, notes
from ingot.operations.serving import planning
from ingot.operations.serving.inputs import inputs
from ingot.operations.serving.requests import requests
from ingot.sizing import GPU, Hardware
from tests.operations.serving.onehost import SMALL
from tests.settings.values import settings

pytestmark = pytest.mark.driver

MIB = 1 << 20
KERNEL = "6.12.57+deb13-amd64"
ROOMY = tuple(Space(path, 500 * GIB, 10_000_000, "/") for path in ("/", DOCKER_ROOT, "/srv/models"))


def bus(*device_ids: int, driver: str | None = "nvidia") -> PciReading:
    devices = (PciDevice(f"0000:{1 + i:02x}:00.0", id_, 0x0302, driver=driver) for i, id_ in enumerate(device_ids))
    return PciReading(tuple(devices))


def report(count: int) -> GpuReport:
    gpus = tuple(
        GPU(index, f"GPU-{index}", "NVIDIA A10G", 23028 * MIB, compute_capability=(8, 6)) for index in range(count)
    )
    return GpuReport(gpus, tuple(QueryRow(index=gpu.index, uuid=gpu.uuid, persistence=True) for gpu in gpus))


def faulty(kind: Fault) -> GpuReport:
    return GpuReport((), (), GpuFault(kind, "as the driver said"))


RUNNING = DriverState(
    os=Os("debian", "13"),
    arch="x86_64",
    kernel=KERNEL,
    bus=bus(0x2237, 0x2237, 0x2237, 0x2237),
    running="580.173.02",
    running_flavour=Flavour.OPEN,
    on_disk="580.173.02",
    on_disk_flavour=Flavour.OPEN,
    library="580.173.02",
    kernels=(Kernel(KERNEL, True, "580.173.02"),),
)
BARE = replace(RUNNING, running=None, running_flavour=None, on_disk=None, library=None, bus=bus(0x2237, driver=None))
GOOD = HostState(0, RUNNING, report(4), 64 * GIB, ROOMY, 0.2, listeners=(Listener("*:443", "nginx"),), is_deployed=True)
NEW = replace(GOOD, driver=BARE, gpus=faulty(Fault.NOT_INSTALLED), listeners=(), is_deployed=False)
SERVE = [{"model": "qwen2.5-7b-instruct", "context": 8192, "concurrency": 4}]
PINNED = {"engine_version": "0.32.0", "engine_image_digest": f"sha256:{0:064}"}


def wanted(name: str = "gpu-01", **values: Any) -> Wanted:
    return Wanted(name, settings(**{"serve": SERVE, **PINNED, **values}))


WANTED = wanted()


def test_a_release_without_njs_is_refused_only_where_its_own_nginx_is_asked_for() -> None:
    jammy = replace(NEW, driver=replace(BARE, os=Os("ubuntu", "22.04")))
    assert findings(jammy, WANTED) == ()
    (found,) = findings(jammy, wanted(gateway_packages="distribution"))
    assert found == 'ubuntu 22.04 packages no njs for its nginx; set gateway_packages = "nginx.org", or leave it out'


@pytest.mark.parametrize("look", [GOOD, NEW], ids=["deployed", "bare"])
def test_a_host_that_is_fine_is_passed_in_silence(look: HostState) -> None:
    assert findings(look, WANTED) == ()
    assert notes(look) == ()


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (replace(NEW, uid=1000), "uid 1000, expected root"),
        (replace(NEW, driver=replace(BARE, os=Os("debian", "11"))), "debian 11, expected Ubuntu"),
        (replace(NEW, driver=replace(BARE, arch="riscv64")), "a riscv64 processor"),
        (replace(NEW, has_apt=False), "no apt on the host"),
        (replace(NEW, memory_bytes=GIB), "1.0 GiB of memory"),
        (replace(NEW, clock_skew_s=-86400.0), "86400 s behind the control machine's"),
        (replace(NEW, clock_skew_s=90.0), "90 s ahead of the control machine's"),
        (replace(NEW, broken_packages=("libc6",)), "dpkg wants libc6 reinstalled"),
        (replace(NEW, tmp_options=frozenset({"ro", "nosuid"})), "/tmp is mounted read-only"),
        (replace(NEW, spaces=(*ROOMY, Space(TMP, 0, 10_000, TMP))), "0.0 GiB free on /tmp"),
        (replace(NEW, docker=DockerState("debian", "13", "trixie", "amd64", swarm=True)), "part of a swarm"),
        (replace(NEW, driver=replace(BARE, secure_boot=True)), "Secure Boot on"),
        (replace(NEW, driver=replace(BARE, bus=bus(0x2237, driver="vfio-pci"))), "bound to vfio-pci"),
        (replace(NEW, driver=replace(BARE, bus=bus())), "no NVIDIA GPU on the PCI bus"),
        (replace(NEW, driver=replace(BARE, bus=bus(0x1DB5, 0x2901))), "expected GPUs that one driver serves"),
        (replace(NEW, driver=replace(BARE, runfile=True)), "a driver from NVIDIA's .run installer"),
        (replace(NEW, listeners=(Listener("*:443", "caddy"),)), "port 443 is held by caddy"),
        (replace(NEW, listeners=(Listener("[::]:80", "apache2"),)), "port 80 is held by apache2"),
        (replace(GOOD, gpus=faulty(Fault.LOST)), "a GPU is lost"),
        (replace(GOOD, gpus=faulty(Fault.HANGS)), "did not answer in time"),
        (replace(GOOD, gpus=report(3)), "3 GPUs answer of 4"),
        (replace(GOOD, gpus=faulty(Fault.NO_DEVICES)), "finds no device"),
    ],
)
def test_what_cannot_work_is_said(look: HostState, says: str) -> None:
    found = findings(look, wanted(serve=[]))
    assert len(found) == 1
    assert says in found[0]
    assert ", expected " in found[0] or "; " in found[0]


def test_a_gpu_of_a_virtual_machine_stops_nothing_where_the_owner_names_the_others() -> None:
    beside = PciReading((*bus(0x2237).functions, *bus(0x1DB5, driver="vfio-pci").functions))
    look = replace(NEW, driver=replace(BARE, bus=beside))
    (found,) = findings(look, wanted(serve=[]))
    assert "1 of 2 GPUs bound to vfio-pci" in found
    assert "name the others in gpus_use to leave these alone, or remove the vfio-pci binding" in found
    assert findings(look, wanted(gpus_use=[0])) == ()


@pytest.mark.parametrize("kind", [Fault.NOT_INSTALLED, Fault.NOT_LOADED, Fault.MISMATCH, Fault.LIBRARY])
def test_what_the_driver_role_heals_stops_nothing(kind: Fault) -> None:
    assert findings(replace(GOOD, gpus=faulty(kind)), WANTED) == ()


def test_the_wrong_flavour_is_healed_too() -> None:
    wrong = replace(RUNNING, running_flavour=Flavour.PROPRIETARY)
    assert findings(replace(GOOD, driver=wrong, gpus=faulty(Fault.NO_DEVICES)), WANTED) == ()


def test_all_findings_are_said_at_once() -> None:
    bad = replace(
        NEW, uid=1000, clock_skew_s=3600.0, driver=replace(BARE, os=Os("fedora", "43"), bus=bus(0x1DB5, 0x2901))
    )
    assert len(findings(bad, wanted("gpu_01", serve=[]))) == 5


def test_room_on_one_disk_adds_up() -> None:
    spaces = tuple(Space(path, 44 * GIB, 10_000_000, "/") for path in ("/", DOCKER_ROOT, "/srv/models"))
    (said,) = findings(replace(NEW, spaces=spaces), WANTED)
    assert "44.0 GiB free on /" in said
    assert "/ and /var/lib/docker and /srv/models" in said


def mounted(target: str, options: str = "rw,relatime") -> tuple[Mount, ...]:
    return (Mount("/srv/models", target, frozenset(options.split(","))),)


@pytest.mark.cache
@pytest.mark.parametrize(
    ("changed", "values", "said"),
    [
        (
            {"mounts": mounted("/"), "unmounted": ("/srv",)},
            {},
            "/srv of /etc/fstab is not mounted, expected it mounted since cache_root (/srv/models) lies there and "
            "models would fill /; `mount /srv` on the host",
        ),
        (
            {"mounts": mounted("/")},
            {"cache_mount": "/srv"},
            "cache_root (/srv/models) lies on /, expected /srv mounted there; mount it, or correct cache_mount",
        ),
        (
            {"mounts": mounted("/srv", "ro,relatime")},
            {"cache_mount": "/srv"},
            "cache_root (/srv/models) lies on /srv, which is mounted read-only",
        ),
        ({"mounts": mounted("/"), "unmounted": ("/srv/mod", "/mnt/backup")}, {}, None),
        ({"mounts": mounted("/srv")}, {"cache_mount": "/srv"}, None),
    ],
)
@pytest.mark.parametrize("look", [GOOD, NEW], ids=["deployed", "new"])
def test_models_never_fill_a_disk_that_is_not_meant_for_them(
    look: HostState, changed: dict[str, Any], values: dict[str, Any], said: str | None
) -> None:
    found = findings(replace(look, **changed), wanted(**values))
    assert len(found) == (said is not None) and (said is None or found[0].startswith(said))


SNAPSHOTTER = '{"features": {"containerd-snapshotter": true}}'
DOCKER = DockerState("debian", "13", "trixie", "amd64")


@pytest.mark.cache
@pytest.mark.parametrize(
    ("found", "values", "root"),
    [
        (None, {}, "/var/lib/docker"),
        (DOCKER, {}, "/var/lib/containerd"),
        (DOCKER, {"docker_version": "5:28.*"}, "/var/lib/docker"),
        (DOCKER, {"docker_version": "5:29.1.*"}, "/var/lib/containerd"),
        (DOCKER, {"docker_source": "distribution"}, "/var/lib/docker"),
        (replace(DOCKER, version=(29, 1)), {}, "/var/lib/containerd"),
        (replace(DOCKER, version=(29, 1), drivers=("overlay2",)), {}, "/var/lib/docker"),
        (replace(DOCKER, version=(26, 1)), {}, "/var/lib/docker"),
        (replace(DOCKER, version=(26, 1), config=SNAPSHOTTER), {}, "/var/lib/containerd"),
        (replace(DOCKER, version=(26, 1), config='{"data-root": "/data/docker"}'), {}, "/data/docker"),
        (DOCKER, {"docker_daemon": {"data-root": "/data/d", "features": {"containerd-snapshotter": False}}}, "/data/d"),
        (replace(DOCKER, config="no JSON"), {}, "/var/lib/containerd"),
    ],
)
def test_images_are_counted_where_docker_will_keep_them(found: Any, values: dict[str, Any], root: str) -> None:
    assert image_root(found, settings(**values)) == root


@pytest.mark.cache
def test_what_engines_compile_is_counted_too() -> None:
    spaces = (*ROOMY, Space("/var/lib/ingot", 1 << 20, 10_000_000, "/var"))
    (said,) = findings(replace(NEW, spaces=spaces), WANTED)
    assert "0.0 GiB free on /var, expected 1.0 GiB for /var/lib/ingot" in said


def test_weights_need_room_where_they_will_be() -> None:
    spaces = (*ROOMY[:2], Space("/srv/models", 64 << 10, 10_000_000, "/srv/models"))
    (said,) = findings(replace(NEW, spaces=spaces), WANTED)
    assert "0.0 GiB free on /srv/models, expected 1" in said


def test_a_deployed_host_needs_no_second_room_for_what_it_holds() -> None:
    spaces = tuple(replace(space, free_bytes=2 * GIB) for space in ROOMY)
    assert findings(replace(GOOD, spaces=spaces), WANTED) == ()


def test_inodes_run_out_too() -> None:
    spaces = (*ROOMY[:2], Space("/srv/models", 500 * GIB, 10, "/srv/models"))
    (said,) = findings(replace(NEW, spaces=spaces), WANTED)
    assert "10 free inodes on /srv/models" in said


@pytest.mark.parametrize("look", [GOOD, NEW], ids=["measured", "by PCI ids"])
def test_a_model_that_does_not_fit_is_refused_before_anything_changes(look: HostState) -> None:
    serve = [{"model": "llama-3.3-70b-instruct", "context": 131072, "concurrency": 64}]
    (said,) = findings(look, wanted(serve=serve))
    assert "llama-3.3-70b-instruct" in said
    assert not said.startswith("gpu-01: ")


@pytest.mark.parametrize(("engine", "title"), [("ollama", "Ollama"), ("llama.cpp-cuda", "llama.cpp on GPUs")])
def test_where_no_gpu_is_an_engine_for_the_processor_is_named(engine: str, title: str) -> None:
    variant = {"name": "q8", "repository": "site/small", "quantization": "gguf-q8", "file": "small-q8_0.gguf"}
    model = {"config": SMALL["config"], "variants": [{**variant, "revision": "0" * 40}]}
    serve = [{"model": "small", "context": 2048, "concurrency": 2, "engine": engine}]
    pinned = {engine: {"image": "an/engine:b11669", "version": "b11669", "digest": f"sha256:{1:064}"}}
    asked = wanted(serve=serve, site_models={"small": model}, engine_images=pinned)
    without = replace(NEW, driver=replace(BARE, bus=bus()))
    words = "set `engine: llama.cpp`, which serves the same file there"
    (said,) = (one for one in findings(without, asked) if words in one)
    assert said.startswith(f"small by {title}, which is started with GPUs alone")
    assert not any(words in one for one in findings(NEW, asked))


def test_what_runs_on_the_gpus_now_is_the_engine_itself() -> None:
    full = replace(GOOD.gpus, gpus=tuple(replace(gpu, free_bytes=MIB) for gpu in GOOD.gpus.gpus))
    assert findings(replace(GOOD, gpus=full), WANTED) == ()


def test_gpus_that_the_catalog_lacks_are_not_judged_before_they_are_measured() -> None:
    assert expected(bus(0x2237, 0x2FFF)) == []


@pytest.mark.parametrize("name", ["gpu_01", "-gpu", "a" * 64, "gpu 01", "*.*.example"])
def test_a_name_that_no_certificate_carries_is_refused(name: str) -> None:
    (said,) = findings(GOOD, wanted(name))
    assert "cannot stand in a certificate" in said


def test_what_is_odd_and_harmless_is_worth_a_note_only() -> None:
    look = replace(GOOD, unfinished_packages=("odd",), tmp_options=frozenset({"rw", "noexec"}))
    assert findings(look, WANTED) == ()
    unfinished, noexec = notes(look)
    assert "odd left unconfigured" in unfinished and "`dpkg --configure -a`" in unfinished
    assert "/tmp is mounted noexec" in noexec


def test_what_a_deploy_changes_for_others_is_said_before() -> None:
    there = DockerState("debian", "13", "trixie", "amd64", (29, 1), containers=(Container("web", running=True),))
    (said,) = conversions(replace(NEW, docker=there), WANTED)
    assert "container web in this Docker stay" in said
    assert conversions(replace(NEW, docker=there), replace(WANTED, fronts=True)) == ()


def test_a_busy_package_manager_is_worth_a_note_only() -> None:
    look = replace(GOOD, apt_holder="unattended-upgr (pid 812)")
    assert findings(look, WANTED) == ()
    assert notes(look) == ("unattended-upgr (pid 812) holds the package manager; the run waits for it",)


def test_a_vulnerable_driver_that_runs_is_warned_about() -> None:
    old = replace(RUNNING, running="580.126.20", on_disk="580.126.20", library="580.126.20")
    assert findings(replace(GOOD, driver=old), WANTED) == ()
    assert "set driver_version to 580.159.03 or newer" in notes(replace(GOOD, driver=old))[0]


def test_memory_that_wears_out_is_worth_a_note() -> None:
    row = QueryRow(index=0, uuid="GPU-0", remap_failed=True, ecc_uncorrected=2, recovery_action="Reset")
    said = notes(replace(GOOD, gpus=replace(GOOD.gpus, rows=(row, *GOOD.gpus.rows[1:]))))
    assert [part.partition(";")[0] for part in said] == [
        "GPU 0 could not remap a bad memory row",
        "GPU 0 had 2 uncorrectable memory errors since it was reset",
        "the driver asks for Reset of GPU 0: stop what uses the GPU and reset it (`nvidia-smi --gpu-reset -i 0`), or "
        "reboot the host",
    ]


def test_an_xid_that_needs_a_person_is_worth_one_note() -> None:
    xids = (Xid("0000:01:00", 119), Xid("0000:01:00", 13), Xid("0000:01:00", 119))
    (said,) = notes(replace(GOOD, driver=replace(RUNNING, xids=xids)))
    assert said.startswith("GPU 0000:01:00 reported Xid 119 2 times since boot: its GSP does not answer")


def test_a_fatal_error_of_a_switch_is_worth_one_note() -> None:
    errors = (SwitchError("0000:a9:00.0", 20034, True, "Link 30"), SwitchError("0000:a9:00.0", 28006, False, "Link 46"))
    (said,) = notes(replace(GOOD, driver=replace(RUNNING, switch_errors=errors)))
    assert said.startswith("NVSwitch 0000:a9:00.0 reported SXid 20034 1 times since boot: a fatal NVSwitch error")


def test_a_cache_that_crowds_the_hosts_memory_is_refused_before_anything_changes() -> None:
    kept = [{**SERVE[0], "replicas": 2, "kv_offload_gib": 16}]
    assert findings(GOOD, wanted(serve=kept)) == ()
    (said,) = findings(GOOD, wanted(serve=[{**kept[0], "kv_offload_gib": 32}]))
    assert "64.00 GiB of dropped cache" in said


def test_a_wish_that_cannot_be_is_refused() -> None:
    (said,) = findings(GOOD, wanted(driver_version="580.126.20"))
    assert "known vulnerabilities" in said


def test_a_fault_of_a_gpu_left_alone_stops_nothing() -> None:
    lost = GpuReport(GOOD.gpus.gpus[:3], GOOD.gpus.rows, GpuFault(Fault.LOST, "GPU 3", GOOD.gpus.gpus[:3]))
    look = replace(GOOD, gpus=lost)
    assert findings(look, wanted(gpus_use=[0, 1])) == ()
    assert "a GPU is lost" in findings(look, wanted(gpus_use=[3]))[0]


@pytest.mark.parametrize("use", [[7], ["GPU-none"]])
def test_gpus_that_are_not_there_cannot_be_used(use: list[object]) -> None:
    (said,) = findings(GOOD, wanted(gpus_use=use))
    assert "expected GPUs of this host: 0 (GPU-0)" in said


def test_before_any_driver_a_partial_host_is_judged_by_as_many_gpus_as_it_names() -> None:
    large = [{"model": "qwen2.5-32b-instruct", "context": 8192, "concurrency": 4}]
    for use in ([0], ["GPU-3a23c669-1f69-c64e-cf85-44e9b07e7a2a"]):
        (said,) = findings(NEW, wanted(gpus_use=use, serve=large, cache_root="/srv/models"))
        assert "1 x NVIDIA A10G" in said


def test_an_image_that_the_driver_cannot_run_is_refused() -> None:
    assert "CUDA 13.0 on driver branch 535" in findings(GOOD, wanted(driver_branch=535))[0]


def test_a_host_that_only_fronts_others_needs_neither_gpu_nor_room_for_models() -> None:
    spaces = (Space("/", 2 * GIB, 10_000_000, "/"), Space("/srv/models", 1, 10_000_000, "/srv"))
    bare = replace(NEW, driver=replace(BARE, bus=bus()), memory_bytes=GIB, spaces=spaces)
    assert any("no NVIDIA GPU" in one for one in findings(bare, WANTED))
    front = replace(wanted(serve=[]), fronts=True)
    assert findings(bare, front) == ()
    (found,) = findings(replace(bare, memory_bytes=GIB // 4), front)
    assert found.startswith("0.2 GiB of memory, expected 0.5 GiB or more")


def test_an_image_that_is_not_pinned_is_refused_before_anything_changes() -> None:
    (said,) = findings(NEW, wanted(engine_image_digest=None))
    assert said.startswith("engine_image_digest is not set, expected the sha256:… digest of vllm/vllm-openai:v0.33.0")
    assert findings(NEW, wanted(engine_image_digest=None, serve=[])) == (), "nothing would run from it"


def test_replicas_without_an_address_are_refused_before_anything_changes() -> None:
    many = replace(GOOD, driver=replace(RUNNING, bus=bus(*[0x2237] * 8)), gpus=report(8))
    small = [{**SERVE[0], "model": "qwen2.5-0.5b-instruct", "concurrency": 16}]
    assert findings(many, wanted(serve=small)) == ()
    (said,) = findings(many, wanted(serve=small, engine_network="10.9.8.0/28"))
    assert said.startswith(
        "engine_network is 10.9.8.0/28, which has addresses for 5 replicas of the 8 that are planned"
    )


def test_a_deployed_host_is_judged_by_the_plan_that_it_keeps() -> None:
    """What this version would not plan any more stops no host whose values and GPUs are as they were."""
    large = wanted(serve=[{**SERVE[0], "concurrency": 10**6}])
    (said,) = findings(GOOD, large)
    assert "does not fit" in said
    profile, gpus = planning.profile(large.values), GOOD.gpus.gpus
    kept = planning.plan(Hardware("gpu-01", gpus), requests(WANTED.values), profile, EngineState())
    stored = {**kept.to_dict(), "inputs": inputs(gpus, requests(large.values), profile, peaks())}
    assert findings(replace(GOOD, stored={"plan.json": stored}), large) == ()


@pytest.mark.rollout
def test_a_host_that_a_newer_ingot_changed_is_left_alone() -> None:
    (found,) = findings(replace(NEW, stored={"schema.json": {"schema": SCHEMA + 1}}), WANTED)
    assert found.startswith(f"a newer Ingot has changed it (its state has schema {SCHEMA + 1}, this Ingot knows ")
    assert findings(replace(GOOD, stored={"schema.json": {"schema": SCHEMA}}), WANTED) == ()
