"""Simulated: nvidia-ctk. The CDI specification it writes is real: dockerd injects these devices into containers."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import machine

SPEC_DIRECTORIES = ("etc/cdi", "var/run/cdi")
VERSION_FILE = "usr/share/nvidia-container-toolkit/VERSION"


def main(arguments: list[str]) -> int:
    """Answer one call of nvidia-ctk; returns the exit status."""
    if arguments[:1] == ["--version"]:
        version = (machine.ROOT / VERSION_FILE).read_text().strip()
        print(f"NVIDIA Container Toolkit CLI version {version}\ncommit: simulated")
        return 0
    words = [word for word in arguments if not word.startswith("-")]
    if words[:2] == ["cdi", "generate"]:
        return _generate(arguments)
    if words[:2] == ["cdi", "list"]:
        names = listed_devices()
        print(f'time="-" level=info msg="Found {len(names)} CDI devices"', file=sys.stderr)
        print("".join(name + "\n" for name in names), end="")
        return 0
    if words[:2] == ["runtime", "configure"]:
        return _configure(arguments)
    print("nvidia-ctk: this call is not simulated: " + " ".join(arguments), file=sys.stderr)
    return 1


def specification(gpus: list[dict[str, Any]], minors: dict[str, int], driver: str) -> dict[str, Any]:
    """The CDI document for these GPUs and their instances: each under its index and its UUID, and `all`."""
    devices = []
    for index, gpu in enumerate(gpus):
        minor = minors[gpu["uuid"]]
        nodes = [f"/dev/nvidia{minor}"]
        named = [(str(index), nodes), (gpu["uuid"], nodes)]
        for number, instance in enumerate(gpu.get("mig_devices", ())):
            own = [*nodes, f"/dev/{machine.capability(minor, instance)}"]
            named += [(f"{index}:{number}", own), (instance["uuid"], own)]
        devices += [
            {"name": name, "containerEdits": {"deviceNodes": [{"path": path} for path in paths]}}
            for name, paths in named
        ]
    everything = [{"path": f"/dev/nvidia{minors[gpu['uuid']]}"} for gpu in gpus]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": everything}})
    control = ("nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools")
    library = "/usr/lib/x86_64-linux-gnu"
    mounts = ["/usr/bin/nvidia-smi", f"{library}/libnvidia-ml.so.{driver}", f"{library}/libcuda.so.{driver}"]
    # The stand-in's own needs: its code; the host's hardware and the state of the module.
    mounts += ["/usr/lib/ingot-simulated", "/var/lib/ingot-simulated"]
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": devices,
        "containerEdits": {
            # The second is the stand-in's own: CUDA for the burn-in. It replaces the engine's, which is /ingot.
            "env": ["NVIDIA_VISIBLE_DEVICES=void", "PYTHONPATH=/usr/lib/ingot-simulated/python:/ingot"],
            "deviceNodes": [{"path": f"/dev/{node}"} for node in control if (machine.ROOT / "dev" / node).exists()],
            "mounts": [
                {"hostPath": path, "containerPath": path, "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}
                for path in mounts
            ],
        },
    }


def listed_devices() -> list[str]:
    """Qualified names of all devices in the specification directories, sorted."""
    names = set()
    for directory in SPEC_DIRECTORIES:
        for path in (machine.ROOT / directory).glob("nvidia*.yaml"):
            spec = json.loads(path.read_text())
            names |= {f"{spec['kind']}={device['name']}" for device in spec["devices"]}
    return sorted(names)


def _generate(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--output", "-o")
    options, _ = parser.parse_known_args(arguments)
    module, user_space = machine.running(), machine.user_space_version()
    if module is None or module["version"] != user_space:
        reason = "ERROR_LIBRARY_NOT_FOUND" if user_space is None else "ERROR_DRIVER_NOT_LOADED"
        reason = "ERROR_LIB_RM_VERSION_MISMATCH" if module and user_space else reason
        print(f"failed to generate CDI spec: failed to initialize NVML: {reason}", file=sys.stderr)
        return 1
    minors = {gpu["uuid"]: minor for minor, gpu in enumerate(machine.hardware()["gpus"])}
    gpus = [gpu for gpu in machine.visible_gpus() if not gpu["fault"]]
    # JSON is YAML: the same document, without a YAML library on the guest.
    text = json.dumps(specification(gpus, minors, module["version"]), indent=2) + "\n"
    output = options.output or os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH")
    if not output:
        print(text, end="")
        return 0
    target = machine.ROOT / output.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_text(text)
    temporary.replace(target)
    print(f'time="-" level=info msg="Generated CDI spec with version 0.5.0 for {len(gpus)} GPUs"', file=sys.stderr)
    return 0


def _configure(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--runtime", default="docker")
    parser.add_argument("--config", default="/etc/docker/daemon.json")
    parser.add_argument("--cdi.enabled", dest="cdi", action="store_true")
    options, _ = parser.parse_known_args(arguments)
    path = machine.ROOT / Path(options.config).relative_to("/")
    config: dict[str, Any] = json.loads(path.read_text() or "{}") if path.exists() else {}
    config.setdefault("runtimes", {})["nvidia"] = {"args": [], "path": "nvidia-container-runtime"}
    if options.cdi:
        config.setdefault("features", {})["cdi"] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=4) + "\n")
    return 0
