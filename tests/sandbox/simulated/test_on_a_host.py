"""The whole path on booted test hosts: hardware first, packages from the signed repository, a reboot, containers."""

from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost, aptrepo, simulated

pytestmark = [pytest.mark.e2e, pytest.mark.long]

OLD, NEW = "580.159.03", "580.173.02"


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[TestHost]:
    sandbox = Sandbox()
    name = f"simulated-{request.param}"
    try:
        yield sandbox.up(name, profile=request.param)
    finally:
        sandbox.down(name)


def on(profile: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("host", [profile], indirect=True)


def install(host: TestHost, *packages: str) -> None:
    """Set the signed source up and install from it, as an administrator would by hand."""
    source = aptrepo.source_values()["sources"]["nvidia_driver"]
    host.put(
        "/etc/apt/sources.list.d/nvidia.sources",
        f"Types: deb\nURIs: {source['uri']}\nSuites: {source['suite']}\nComponents: {source['component']}\n"
        f"Signed-By: {source['key_url'].removeprefix('file://')}\n",
    )
    only = "-o Dir::Etc::sourcelist=sources.list.d/nvidia.sources -o APT::Get::List-Cleanup=0"
    host.succeeds(f"apt-get update --error-on=any {only}")
    for package in packages:
        host.succeeds(
            f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --allow-downgrades {package}",
            timeout_s=600,
        )


@on("rtx4090x1")
def test_a_fresh_gpu_host_reaches_a_container_that_sees_its_gpu(host: TestHost) -> None:
    assert "Kernel driver in use: nouveau" in host.succeeds("lspci -nnk -d 10de:2684")
    host.fails("command -v nvidia-smi")
    install(host, f"nvidia-driver-pinning-{OLD}", "linux-headers-$(uname -r) nvidia-open", "nvidia-container-toolkit")
    assert host.succeeds("modinfo -F version nvidia; modinfo -F license nvidia") == f"{OLD}\nDual MIT/GPL\n"
    assert "No such device" in host.fails("modprobe nvidia")

    host.reboot()
    assert "Kernel driver in use: nvidia" in host.succeeds("lspci -nnk -d 10de:2684")
    listed = host.succeeds("nvidia-smi -L")
    assert listed.startswith("GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-")
    uuid = listed.split("UUID: ")[1].rstrip(")\n")
    host.wait_until_succeeds(f"nvidia-ctk cdi list | grep -qx nvidia.com/gpu={uuid}", timeout_s=600)

    host.put("/etc/docker/daemon.json", '{"features": {"cdi": true}}')
    install(host, "docker.io docker-cli")
    # The host's own python3 makes an image; its nvidia-smi stays out, so that only CDI can bring one.
    libraries = " ".join(
        f"usr/lib/*-linux-gnu/{name}*" for name in ("ld-linux", "libc.", "libm.", "libz.", "libexpat.")
    )
    tree = f"bin lib lib64 usr/lib64 usr/bin/env usr/bin/python3* usr/lib/python3.* {libraries}"
    host.succeeds(f"cd /; tar -c --exclude __pycache__ {tree} | docker import - probe", timeout_s=600)
    hardened = "--network none --cap-drop ALL --read-only --tmpfs /run --user 1000"
    assert host.succeeds(f"docker run --rm {hardened} --device nvidia.com/gpu={uuid} probe nvidia-smi -L") == listed
    host.fails("docker run --rm probe nvidia-smi -L")


@on("driver-mismatch")
def test_a_mismatch_lasts_until_the_reboot(host: TestHost) -> None:
    install(host, f"nvidia-driver-pinning-{NEW}", "linux-headers-$(uname -r) nvidia-open")
    assert host.run("nvidia-smi -L")[0] == 18
    assert "in use" in host.fails("modprobe -r nvidia")
    host.reboot()
    assert host.succeeds("nvidia-smi -L").count("NVIDIA A10G") == 4
    host.succeeds(simulated.set_command("gpus.2.fault", "GPU is lost"))
    assert host.run("nvidia-smi --query-gpu=index,memory.free --format=csv,noheader") == (
        15,
        "0, 22569 MiB\n1, 22569 MiB\n2, [GPU is lost]\n3, 22569 MiB\n",
    )


@on("h100x8")
def test_an_nvswitch_host_needs_the_fabric_manager_of_its_driver_s_version(host: TestHost) -> None:
    install(
        host, f"nvidia-driver-pinning-{OLD}", "linux-headers-$(uname -r) nvidia-driver-cuda nvidia-kernel-open-dkms"
    )
    host.succeeds("modprobe nvidia")
    state = "nvidia-smi --query-gpu=fabric.state,fabric.status --format=csv,noheader | sort -u"
    install(host, f"nvidia-fabricmanager={NEW}-2")
    host.run("systemctl start nvidia-fabricmanager")
    host.wait_until_succeeds("systemctl is-failed nvidia-fabricmanager", timeout_s=600)
    assert host.succeeds(state) == "In Progress, N/A\n"
    install(host, f"nvidia-fabricmanager={OLD}-2")
    host.succeeds("systemctl start nvidia-fabricmanager")
    host.wait_until_succeeds(f"{state} | grep -qx 'Completed, Success'", timeout_s=600)
    # The manager is a user of the driver, as /proc shows.
    assert "in use" in host.fails("modprobe -r nvidia_uvm nvidia")
    assert (
        host.succeeds("cat $(dirname $(find /proc/[0-9]*/fd -lname '/dev/nvidia*' | head -1))/../comm")
        == "nv-fabricmanage\n"
    )
    host.succeeds("systemctl stop nvidia-fabricmanager && modprobe -r nvidia_uvm nvidia")


@on("a10gx4")
def test_a_failed_build_is_dpkg_s_failure_too_and_heals_when_its_cause_is_gone(host: TestHost) -> None:
    fault = {"kernels": ".*", "versions": NEW, "message": "nv.c:7:1: error: implicit declaration"}
    host.succeeds(simulated.set_command("build_fault", fault))
    install(host, f"nvidia-driver-pinning-{NEW}", "linux-headers-$(uname -r)")
    message = host.fails("DEBIAN_FRONTEND=noninteractive apt-get install -y nvidia-open")
    assert "Error! Bad return status for module build on kernel" in message
    assert "nvidia-kernel-open-dkms" in host.succeeds("dpkg --audit")
    host.succeeds(simulated.set_command("build_fault", None))
    host.succeeds("dpkg --configure -a && modprobe nvidia && nvidia-smi")
