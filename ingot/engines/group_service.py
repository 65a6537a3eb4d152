"""One host's part of a replica that several hosts serve: vLLM's own way over hosts (names as of vLLM 0.32)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from ingot.engines.service import Service

#: Where the head's process group is found, and where supervisors hear each other (UDP); below all random ports.
MASTER_PORT = 29501
BEAT_PORT = 29502
#: Where the head listens for its own host's gateway alone.
LOOPBACK = "127.0.0.1"
#: The health route of a member that is not the head: it answers nobody.
SILENT = "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host stands in its group: `hosts` are names and addresses, the head first, `me` is its own name.

    `interface` is the one that has its address.
    """

    hosts: tuple[tuple[str, str], ...]
    me: str
    interface: str

    @property
    def rank(self) -> int:
        """The number of the host, 0 for the head."""
        return [name for name, _ in self.hosts].index(self.me)

    @property
    def address(self) -> str:
        """The host's own address."""
        return dict(self.hosts)[self.me]

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts, the head first."""
        return tuple(name for name, _ in self.hosts)


def part(service: Service, place: Place, *, cpu: bool) -> Service:
    """The container of one host's part, from that of a replica of one host.

    The plan's tensor and pipeline sizes stand in it already; a build for the processor takes one rank on each host.
    """
    leads = place.rank == 0
    argv = list(service.argv)
    argv[argv.index("--host") + 1] = LOOPBACK
    variables = {
        "GLOO_SOCKET_IFNAME": place.interface,
        "NCCL_SOCKET_IFNAME": place.interface,
        "VLLM_HOST_IP": place.address,
    }
    if cpu:
        # Its first request over stages dies where nothing is traced, since only that warms it up (vLLM
        # `v1/worker/cpu_model_runner.py`); mode 3 becomes the backend that needs a compiler (`platforms/cpu.py`).
        argv = [word for word in argv if word != "--enforce-eager"]
        argv += ["-cc.mode=2", "-cc.backend=eager", "--pipeline-parallel-size", str(len(place.hosts))]
        variables |= {
            "TORCH_COMPILE_DISABLE": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_USE_AOT_COMPILE": "0",
        }
    argv += ["--distributed-executor-backend", "mp", "--nnodes", str(len(place.hosts))]
    argv += ["--node-rank", str(place.rank), "--master-addr", place.hosts[0][1], "--master-port", str(MASTER_PORT)]
    return replace(
        service,
        argv=tuple(argv if leads else [*argv, "--headless"]),
        env=tuple(sorted({**dict(service.env), **variables}.items())),
        address=LOOPBACK,
        health_path=service.health_path if leads else SILENT,
        group=place.names,
    )


def stands(service: Service, place: Place) -> bool:
    """Whether a part, of whatever time, reaches the hosts of its group as one made now does."""
    head = service.argv[service.argv.index("--master-addr") + 1]
    env = dict(service.env)
    own = (env["VLLM_HOST_IP"], env["NCCL_SOCKET_IFNAME"])
    return (service.group, head, own) == (place.names, place.hosts[0][1], (place.address, place.interface))


def digest(service: Service, place: Place) -> str:
    """What must be the same on every host of a group, so that none serves with another's settings.

    It is that of any host's part: what is its own (rank, address, interface, GPUs, directories) is left out.
    """
    words = [word for word in service.argv if word != "--headless"]
    words[words.index("--node-rank") + 1] = ""
    own = {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "VLLM_HOST_IP"}
    shared = {
        "hosts": place.hosts,
        "image": service.image,
        "argv": words,
        "env": [pair for pair in service.env if pair[0] not in own],
        "model": [one.source for one in service.mounts if one.target == "/model"],
        "gpus": len(service.devices),
    }
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
