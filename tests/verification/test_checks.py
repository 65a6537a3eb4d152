"""Every check of tests/hosts passes on a host as it was deployed, and fails with its sentence when that is broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.outside import Refused, Served
from tests.settings.values import DEFAULTS
from tests.verification.judging import (
    ADDRESS,
    CHECKS,
    EMBEDDING,
    NAME,
    Host,
    adds,
    answered,
    fails,
    has,
    meets,
    probed,
    said,
    session,
)

pytestmark = pytest.mark.onboarding

UUID, CDI = "GPU-5742d7b8-736f-50ba-b4c9-3f9765a66c95", "nvidia.com/gpu"

Case = tuple[str, Callable[[Host], None], str]
CASES: tuple[Case, ...] = (
    ("test_every_served_model_is_as_it_was_verified", said("models", "\t5", "\t6"), "changed since it was verified"),
    ("test_every_served_model_is_as_it_was_verified", said("markers", "{", ""), "never verified"),
    (
        "test_no_weights_have_rotted_on_the_disk",
        adds("damage", "2026-11-29T01:00:00Z\tcannot be read (Input/output error)\t/srv/models/a/bf16/0/x.safetensors"),
        "/srv/models/a/bf16/0/x.safetensors cannot be read (Input/output error), found 2026-11-29T01:00:00Z",
    ),
    (
        "test_every_served_model_is_the_one_of_the_lock",
        has(values={"models_lock": str(Path(__file__).parent / "captures" / "other.lock.yaml")}),
        "12e33731cd52310117cc6dc8dd4f1cc354d5b737: ",
    ),
    ("test_models_lie_in_the_cache", has(values={"cache_root": "/data"}), "served from elsewhere than /data/"),
    ("test_only_root_may_write_weights", said("models", "\t644\t", "\t666\t"), "others than root may change"),
    ("test_docker_runs_and_starts_at_boot", said("units", "docker active", "docker failed"), "docker is failed"),
    ("test_docker_is_new_enough_for_cdi", said("docker", '"26.1', '"24.1'), "dockerd 24.1"),
    ("test_daemon_json_says_what_ingot_needs", said("daemon", '"icc": false', '"icc": true'), "about icc"),
    ("test_dockerd_runs_with_it", said("docker", '"LiveRestoreEnabled": true', '"a": 1'), "without live-restore"),
    ("test_dockerd_runs_with_it", said("bridge", '"false"', '"true"'), "isolated containers"),
    ("test_docker_is_no_swarm", said("docker", "inactive", "active"), "part of a swarm"),
    ("test_dockerd_listens_on_no_network", said("listeners", '"sshd"', '"dockerd"'), "docker listens"),
    ("test_nobody_is_given_dockers_socket", said("docker_group", ":102:", ":102:mallory"), "mallory"),
    ("test_nobody_is_given_dockers_socket", said("docker_group", "660", "666"), "root:docker 666"),
    (
        "test_module_files_and_user_space_are_of_the_driver_that_runs",
        said("driver_on_disk", "580.173.02", "580.180.01"),
        "580.180.01 is installed",
    ),
    (
        "test_module_files_and_user_space_are_of_the_driver_that_runs",
        said("driver_library", "580.173.02", "580.180.01"),
        "user space is of 580.180.01",
    ),
    (
        "test_the_module_is_of_the_flavour_that_was_decided",
        said("driver_running", "Open Kernel Module for x86_64", "x86_64 Kernel Module"),
        "the proprietary kernel module runs, open was decided",
    ),
    (
        "test_the_record_of_the_driver_is_of_the_one_that_runs",
        said("evidence", '"version": "580.173.02"', '"version": "570.1"'),
        "570.1 is recorded",
    ),
    ("test_every_kernel_with_headers_has_the_module", adds("driver_kernels", "6.12.99 yes"), "for kernel 6.12.99"),
    (
        "test_every_gpu_on_the_bus_answers",
        said("pci", "0000:01:00.1 0x10de 0x22ba 0x040300", "0000:02:00.0 0x10de 0x2684 0x030000"),
        "2 GPUs on the PCI bus, 1 answer",
    ),
    ("test_every_gpu_is_driven_by_the_nvidia_module", said("pci", " nvidia ", " vfio-pci "), "by vfio-pci"),
    ("test_nouveau_stays_away", adds("modules", "nouveau"), "nouveau is loaded"),
    ("test_nouveau_stays_away", said("modules", "blacklist nouveau", ""), "not blacklisted"),
    ("test_persistence_mode_is_on", said("smi_query", "Disabled, Enabled", "Disabled, Disabled"), "off for GPU 0"),
    (
        "test_the_fabric_is_managed_where_there_is_one",
        said("evidence", '"fabric": "none"', '"fabric": "fabric_manager"'),
        "nvidia-fabricmanager is inactive",
    ),
    (
        "test_the_drivers_packages_are_held_at_their_versions",
        said("driver_packages", "hi \tnvidia-driver-cuda", "ii \tnvidia-driver-cuda"),
        "not held back from upgrades: nvidia-driver-cuda",
    ),
    (
        "test_the_drivers_packages_are_held_at_their_versions",
        said("driver_packages", "nvidia-driver-cuda\t580.173.02-1", "nvidia-driver-cuda\t580.180.01-1"),
        "nvidia-driver-cuda 580.180.01-1",
    ),
    ("test_unattended_upgrades_leave_the_driver_alone", said("blocklist", '"nvlsm"', ""), "may change nvlsm"),
    (
        "test_package_sources_are_trusted_with_the_pinned_keys_alone",
        has(values={"sources": DEFAULTS["sources"]}),
        "keys that nobody pinned",
    ),
    ("test_every_planned_replica_has_its_container", said("plan", '"tiny-qwen3"', '"other"'), "planned are ['other']"),
    ("test_every_container_runs", said("containers", '"Status": "running"', '"Status": "exited"'), "exited"),
    ("test_every_replica_is_healthy", said("health", " 200", " 503"), "503"),
    (
        "test_no_replica_is_held_out_for_its_gpu",
        said("replica_holds", "{}", '{"172.31.213.10:8000": {"gpu": "GPU-1", "why": "Xid 79", "since": "2026-11-28"}}'),
        "replica 172.31.213.10:8000 gets no requests since 2026-11-28: GPU GPU-1: Xid 79",
    ),
    (
        "test_no_replica_is_held_out_for_its_gpu",
        said("units", "replica-watch.timer active", "replica-watch.timer dead"),
        "ingot-replica-watch.timer, which watches the GPUs, is dead enabled",
    ),
    ("test_containers_come_back_after_a_boot", said("containers", "unless-stopped", "no"), "does not restart"),
    ("test_containers_come_back_after_a_boot", said("units", "ingot-engine active", "ingot-engine dead"), "is dead"),
    ("test_the_image_is_the_pinned_one", has(values={"engine_image_id": f"sha256:{0:064}"}), "than sha256:00"),
    ("test_every_container_sees_its_own_gpus", said("inside", UUID, "GPU-00"), "sees ['GPU-00']"),
    (
        "test_gpus_are_given_in_the_way_that_outlives_a_daemon_reload",
        said("containers", '"Driver": "cdi"', '"Driver": "nvidia"'),
        "expected CDI",
    ),
    ("test_containers_are_confined", said("containers", '"Privileged": false', '"Privileged": true'), "privileged"),
    ("test_containers_are_confined", said("containers", '"User": "2000:0"', '"User": ""'), "root as its user"),
    ("test_containers_are_confined", said("containers", '"ReadonlyRootfs": true', '"ReadonlyRootfs": false'), "root"),
    ("test_containers_are_confined", said("containers", "no-new-privileges:true", "a"), "new privileges"),
    ("test_containers_are_confined", said("containers", '"ALL"', '"CHOWN"'), "capabilities kept"),
    ("test_containers_have_no_way_in_or_out", said("networks", '"Internal": true', '"Internal": false'), "a way out"),
    (
        "test_containers_have_no_way_in_or_out",
        said("containers", '"PortBindings": {}', '"PortBindings": {"8000/tcp": [{"HostPort": "8000"}]}'),
        "publishes",
    ),
    ("test_containers_are_bounded", said("containers", '"ShmSize": 17179869184', '"ShmSize": 1'), "1 bytes of shared"),
    ("test_containers_are_bounded", has(values={"engine_build": "cuda"}), "has the limits"),
    ("test_the_model_cannot_be_written_by_its_engine", said("containers", '"RW": false', '"RW": true'), "may write"),
    ("test_the_engines_port_is_out_of_reach", meets(open_ports={8000: True}), "port 8000 of the engine"),
    ("test_the_host_was_booted_anew", has(reboot=True, boots=("a", "a")), "the same boot still answers"),
    ("test_nginx_runs_a_valid_configuration_and_starts_at_boot", fails("nginx"), "nginx -t says"),
    ("test_nginx_runs_what_is_installed", said("gateway", "end running 0", "end running 1"), "another configuration"),
    (
        "test_the_filter_answers_where_a_team_asked_for_it",
        has(values={"gateway_teams": {"sales": {"redact": "all"}}}),
        "the filter does not answer, so sales",
    ),
    (
        "test_nothing_listens_but_ssh_and_the_gateway",
        adds("listeners", 'LISTEN 0 5 0.0.0.0:8081 0.0.0.0:* users:(("python3",pid=1,fd=3))'),
        "python3 on 0.0.0.0:8081",
    ),
    ("test_nothing_is_served_in_clear_on_port_80", meets(port_80=answered(404)), "port 80 answers"),
    ("test_a_request_in_clear_is_refused", meets(in_clear=answered(200)), "answered with 200"),
    ("test_a_stranger_is_refused", probed("a made-up key", 200), "a made-up key is answered with 200, expected 401"),
    ("test_a_caller_is_refused", probed("GET /metrics", 200), "GET /metrics is answered with 200, expected 404"),
    ("test_errors_have_the_shape_that_clients_know", probed("no key", 401, "<html>"), "another body"),
    ("test_answers_tell_no_version_and_carry_their_headers", meets(healthz=answered(Server="nginx/1.26.3")), "1.26.3"),
    ("test_with_a_key_the_models_are_listed", meets(models=answered(502)), "/v1/models answers 502"),
    (
        "test_every_model_does_what_it_is_for",
        meets(uses=[(Served("a", "embed", 4), EMBEDDING, answered(body='{"data":[{"embedding":[1,2,3]}]}'))]),
        "a gave 3 numbers instead of 4 to /v1/embeddings",
    ),
    ("test_with_a_key_the_model_answers", meets(completion=answered(503)), "503"),
    ("test_a_streamed_answer_comes_in_pieces", meets(streamed="streamed answers come in one burst"), "one burst"),
    (
        "test_only_root_reads_the_tls_key_and_the_map_of_keys",
        said("private", "key.pem root 600", "key.pem root 644"),
        "key.pem is root 644",
    ),
    (
        "test_only_root_reads_the_tls_key_and_the_map_of_keys",
        has(values={"gateway_certificate": "files"}),
        "/etc/nginx/ingot/pair.pem is missing",
    ),
    ("test_no_secret_is_readable_by_everyone", adds("readable", "/etc/ingot/a"), "/etc/ingot/a"),
    ("test_nothing_of_ours_may_be_written_by_everyone", adds("writable", "/etc/ingot/a"), "/etc/ingot/a"),
    ("test_what_belongs_on_the_control_machine_is_not_here", adds("strangers", "/root/ca.pem"), "/root/ca.pem"),
    ("test_no_process_was_started_with_a_secret", adds("arguments", "curl"), "the arguments of curl"),
    ("test_no_container_is_given_a_secret", said("containers", '"USER=vllm"', '"HF_TOKEN=x"'), "HF_TOKEN"),
    ("test_prompts_and_keys_are_written_nowhere", has(leaks=("/var/log/nginx/a",)), "/var/log/nginx/a"),
    ("test_the_access_log_holds_who_when_and_how_it_went", said("log", '"path"', '"request"'), "holds request"),
    ("test_the_access_log_holds_who_when_and_how_it_went", said("log", '{"time"', "time"), "not JSON"),
    ("test_the_access_log_is_rotated", said("units", "logrotate.timer active", "logrotate.timer dead"), "is dead"),
    ("test_a_caller_meets_tls_1_3_and_http_2_where_asked_for", session("name", version="TLSv1.2"), "expected TLSv1.3"),
    (
        "test_a_caller_meets_tls_1_3_and_http_2_where_asked_for",
        session("name", alpn="h2"),
        "expected http/1.1 by gateway_http2, got h2",
    ),
    ("test_a_caller_may_use_the_address_where_the_certificate_is_ingots", session("address"), f"as {ADDRESS}"),
    ("test_tls_1_2_has_strong_ciphers_only", session("1.2", cipher="ECDHE-RSA-AES128-SHA"), "AES128-SHA"),
    ("test_tls_1_1_is_refused", session("1.1", version="TLSv1.1"), "TLS 1.1 is accepted"),
    (
        "test_an_unknown_name_is_refused_before_anything_is_said",
        session("stranger", version="TLSv1.3"),
        "expected a refusal",
    ),
    ("test_the_certificate_names_the_host", has(values={"gateway_names": ["llm.example"]}), "lacks llm.example"),
    ("test_the_certificate_lasts_some_days", session("name", ends_at=time.time() + 86400), "expected 7 or more"),
    (
        "test_the_toolkit_is_of_the_version_that_is_wanted_and_held",
        has(values={"toolkit_version": "1.21.0"}),
        "expected toolkit 1.21.0",
    ),
    (
        "test_the_toolkit_is_of_the_version_that_is_wanted_and_held",
        said("toolkit", "hi \tlibnvidia-container1", "ii \tlibnvidia-container1"),
        "libnvidia-container1",
    ),
    ("test_one_specification_names_every_gpu_by_its_uuid", said("cdi", UUID, "GPU-00"), f"device for {CDI}={UUID}"),
    ("test_the_specification_is_of_the_driver_that_runs", said("cdi", ".so.580.173.02", ".so.570.1"), "570.1"),
    (
        "test_what_writes_and_hands_on_figures_runs_and_starts_at_boot",
        said("units", "ingot-metrics.timer active", "ingot-metrics.timer failed"),
        "ingot-metrics.timer is failed enabled",
    ),
    (
        "test_what_writes_and_hands_on_figures_runs_and_starts_at_boot",
        said("units", "prometheus-alertmanager active enabled", "prometheus-alertmanager active disabled"),
        "prometheus-alertmanager is active disabled",
    ),
    (
        "test_exporters_listen_on_loopback_alone",
        said("listeners", "127.0.0.1:9100", "*:9100"),
        "prometheus-node on *:9100",
    ),
    ("test_figures_are_fresh", said("figures_age", "9", "61"), "figures are 61 s old, expected 60 at most"),
    ("test_figures_are_fresh", said("figures_age", "9", ""), "figures are not there"),
    ("test_figures_are_fresh", said("figures", "ingot_collector_last_run_seconds", "a"), "wrote no figures"),
    (
        "test_figures_are_refused_without_the_monitors_certificate",
        meets(monitoring={9443: answered(200, "node_load1 1")}),
        "port 9443 answers a stranger with 200",
    ),
    (
        "test_figures_are_refused_without_the_monitors_certificate",
        meets(monitoring={9443: Refused("ConnectionRefusedError")}),
        "port 9443 gives no answer (ConnectionRefusedError)",
    ),
    (
        "test_prometheus_is_refused_without_the_login",
        meets(monitoring={9444: answered(200)}),
        "port 9444 answers without a login with 200",
    ),
    ("test_dockerd_knows_every_gpu_as_a_cdi_device", said("docker", '"CDISpecDirs"', '"a"'), "dockerd does not know"),
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_a_deployed_host_passes(check: str) -> None:
    Host().judge(check)


@pytest.mark.parametrize(("check", "breaks", "words"), CASES, ids=[f"{name}-{words}" for name, _, words in CASES])
def test_what_is_broken_is_said(check: str, breaks: Callable[[Host], None], words: str) -> None:
    host = Host()
    breaks(host)
    with pytest.raises(pytest.fail.Exception) as failed:
        host.judge(check)
    assert str(failed.value).startswith(f"{NAME}: ") and words in str(failed.value)


@pytest.mark.clients
@pytest.mark.parametrize("spelling", ["fd00::11", "FD00::11", "fd00:0:0:0:0:0:0:11"])
def test_an_ipv6_address_is_found_in_the_certificate_however_it_is_written(spelling: str) -> None:
    host = Host(values={"gateway_names": [spelling]})
    session("name", names=frozenset({NAME, "fd00::11"}))(host)
    host.judge("test_the_certificate_names_the_host")


def test_no_check_is_without_a_way_to_fail() -> None:
    assert {name for name, _, _ in CASES} == set(CHECKS)
