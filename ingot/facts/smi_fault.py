"""What `nvidia-smi` says when GPUs do not answer, as data: its messages (on either stream) and exit codes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from ingot.sizing import GPU


class Fault(StrEnum):
    """Why GPUs do not answer."""

    NOT_INSTALLED = "not-installed"
    NOT_LOADED = "not-loaded"
    MISMATCH = "mismatch"
    NO_DEVICES = "no-devices"
    LOST = "lost"
    NEEDS_RESET = "needs-reset"
    UNKNOWN_ERROR = "unknown-error"
    NO_PERMISSION = "no-permission"
    LIBRARY = "library"
    POWER = "power"
    INTERRUPT = "interrupt"
    INFOROM = "inforom"
    HANGS = "hangs"
    NO_INSTANCES = "no-instances"
    UNREADABLE = "unreadable"
    WRONG_FLAVOUR = "wrong-flavour"
    UNSUPPORTED = "unsupported"
    NOT_INITIALISED = "not-initialised"
    HELD_BY_ANOTHER = "held-by-another-driver"
    NOT_BUILT = "not-built"
    FABRIC_MISMATCH = "fabric-mismatch"
    NO_SWITCH = "no-switch"
    OTHER = "other"


#: What was found (after "host: ") and what to do, per fault.
_SENTENCES: dict[Fault, tuple[str, str]] = {
    Fault.NOT_INSTALLED: (
        "nvidia-smi is not installed, expected the driver's tools",
        "run the deploy, whose driver role installs them",
    ),
    Fault.NOT_LOADED: (
        "nvidia-smi cannot reach the NVIDIA driver, expected its kernel module to be loaded",
        "run the deploy; if it persists read `dmesg | grep -i nvrm` (Secure Boot, missing module for this kernel)",
    ),
    Fault.MISMATCH: (
        "the loaded kernel module and the driver's library have different versions, expected one version",
        "run the deploy, which reloads the module or reboots, or reboot the host",
    ),
    Fault.NO_DEVICES: (
        "nvidia-smi finds no device, expected every GPU of the PCI bus",
        "read `dmesg | grep -i nvrm`: wrong kernel module flavour, GSP failure, or Above 4G decoding off in the BIOS",
    ),
    Fault.LOST: (
        "a GPU is lost (fell off the bus), expected it to answer",
        "power-cycle the host; if it returns, have the card, its power and its riser checked (Xid 79 in dmesg)",
    ),
    Fault.NEEDS_RESET: (
        "a GPU requires a reset, expected it to be usable",
        "stop what uses it and run `nvidia-smi --gpu-reset -i <index>`, or reboot the host",
    ),
    Fault.UNKNOWN_ERROR: (
        "a GPU answers with Unknown Error, expected its figures",
        "read `dmesg | grep -i xid` on the host, then reboot it",
    ),
    Fault.NO_PERMISSION: (
        "the operating system keeps nvidia-smi from the GPUs (no hardware fault), expected root to reach them",
        "check that sudo works, and SELinux or the device cgroup on the host",
    ),
    Fault.LIBRARY: (
        "nvidia-smi does not find the driver's library, expected libnvidia-ml.so.1",
        "run the deploy, which installs the driver's packages at one version",
    ),
    Fault.POWER: (
        "a GPU's external power cable is not attached properly, expected it powered",
        "have the power cables of the GPUs checked",
    ),
    Fault.INTERRUPT: (
        "the kernel found an interrupt problem with a GPU, expected none",
        "read `dmesg` on the host, update its BIOS or move the card",
    ),
    Fault.INFOROM: (
        "a GPU's infoROM is corrupted, expected it intact",
        "have the card replaced, or its infoROM rewritten by the vendor",
    ),
    Fault.HANGS: (
        "nvidia-smi did not answer in time (10 s, and 2 s for each GPU without a persistence daemon), expected seconds",
        "read `dmesg | grep -i xid` on the host, and reboot or power-cycle it: a GPU that hangs does not come back",
    ),
    Fault.NO_INSTANCES: (
        "MIG mode is on but no instance exists, expected at least one usable device",
        "create instances (`nvidia-smi mig -cgi … -C`) or turn MIG mode off",
    ),
    Fault.UNREADABLE: (
        "nvidia-smi printed what Ingot cannot read, expected its CSV",
        "send the output of `ingot probe HOST --record FILE` with a bug report",
    ),
    Fault.WRONG_FLAVOUR: (
        "the kernel module is of the wrong flavour for a GPU, expected open modules from Turing on and proprietary "
        "ones before it (Blackwell and Grace Hopper run with open ones only)",
        "remove driver_flavour from the host's values and run the deploy, which installs the right one",
    ),
    Fault.UNSUPPORTED: (
        "the driver does not know a GPU of this host, expected a branch that drives it",
        "set driver_branch to the branch that `ingot probe HOST` names for this GPU and run the deploy",
    ),
    Fault.NOT_INITIALISED: (
        "the driver could not initialise a GPU, expected it to answer",
        "read `dmesg | grep -i nvrm` above that line (GSP firmware, wrong module flavour, an Xid), reboot the host, "
        "and have the card checked if it returns",
    ),
    Fault.HELD_BY_ANOTHER: (
        "another kernel driver holds the GPUs (nouveau or the like), expected NVIDIA's",
        "run the deploy, whose driver role blacklists nouveau and reboots the host",
    ),
    Fault.NOT_BUILT: (
        "the NVIDIA module does not build for a kernel of this host, expected it for every kernel that can boot",
        "set driver_version or driver_branch to one that knows this kernel, or boot an older kernel instead of it",
    ),
    Fault.FABRIC_MISMATCH: (
        "fabric manager and driver have different versions, expected one version",
        "run the deploy, which installs the fabric manager at exactly the driver's version",
    ),
    Fault.NO_SWITCH: (
        "the fabric manager finds no NVSwitch, expected its switches or no fabric manager",
        "set driver_fabric to none and run the deploy where GPUs were passed through without their switches, whose "
        "fabric manager is the hypervisor's; else have the baseboard checked",
    ),
    Fault.OTHER: (
        "nvidia-smi failed, expected the GPUs' figures",
        "run `nvidia-smi` on the host and follow its message",
    ),
}

# How shells say "command not found" in other languages, before or after the command's name.
_NOT_FOUND = (
    "kommando nicht gefunden|befehl nicht gefunden|befehl wurde nicht gefunden|commande introuvable|"
    "commande inconnue|orden no encontrada|no se encontr. la orden|comando non trovato|comando n.o encontrado|"
    "opdracht niet gevonden|kommandot? finns inte|kommando ikke fundet|kommandoen? ikke funnet|"
    "komentoa ei l.ydy|polecenie? nie znalezion[oe]|nie znaleziono polecenia|nie odnaleziono polecenia|"
    "p..kaz nenalezen|komut bulunamad.|команда не найдена|команду не знайдено|未找到命令|找不到命令|命令未找到|"
    "コマンドが見つかりません|명령을 찾을 수 없|명령어를 찾을 수 없|is not recognized as (an internal|a name|the name)"
)
_LOCALISED = rf"nvidia-smi.{{0,40}}({_NOT_FOUND})|({_NOT_FOUND}).{{0,20}}nvidia-smi"

# Order matters: the specific message before the general one it contains.
# Sources: nvidia-smi(1), NVIDIA's troubleshooting page, issues quoted in the captures of tests/facts.
_MESSAGES: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        (r"driver/library version mismatch", Fault.MISMATCH),
        (r"mismatch in versions between nvidia-smi and nvml", Fault.MISMATCH),
        (r"rm version mismatch", Fault.MISMATCH),
        (r"fabric ?manager.*version \S+ do(n['\u2019]t| not|es not) match", Fault.FABRIC_MISMATCH),
        (r"NV_WARN_NOTHING_TO_DO", Fault.NO_SWITCH),
        (r"bad return status for module build on kernel", Fault.NOT_BUILT),
        (r"kernel headers for kernel \S+ cannot be found", Fault.NOT_BUILT),
        (r"error occurred while performing the step: .building kernel modules", Fault.NOT_BUILT),
        (r"nouveau kernel driver is currently in use", Fault.HELD_BY_ANOTHER),
        (r"unable to load the (kernel module )?.?nvidia", Fault.NOT_LOADED),
        (r"nvidia driver (module )?is not supported by|not supported by open nvidia\.ko", Fault.WRONG_FLAVOUR),
        (r"requires use of the nvidia open kernel modules", Fault.WRONG_FLAVOUR),
        (r"couldn['\u2019]?t communicate with (the )?nvidia driver", Fault.NOT_LOADED),
        (r"driver (is )?not loaded", Fault.NOT_LOADED),
        (r"could not insert (module )?'?nvidia", Fault.NOT_LOADED),
        (r"module nvidia\S* not found", Fault.NOT_LOADED),
        (r"unable to determine the device handle.*external power", Fault.POWER),
        (r"unable to determine the device handle.*issue with gpu interrupts", Fault.INTERRUPT),
        (r"unable to determine the device handle.*gpu is lost", Fault.LOST),
        (r"unable to determine the device handle.*(requires reset|reset required)", Fault.NEEDS_RESET),
        (r"unable to determine the device handle", Fault.UNKNOWN_ERROR),
        (r"fallen off the bus", Fault.LOST),
        (r"failed to initialize nvml: insufficient permissions", Fault.NO_PERMISSION),
        (r"gpu access blocked by the operating system", Fault.NO_PERMISSION),
        # nvidia-smi spells it so.
        (r"do not have suffi(ci)?ent permissions", Fault.NO_PERMISSION),
        (r"failed to initialize nvml: .*not found", Fault.LIBRARY),
        (r"failed to initialize nvml: gpu is lost", Fault.LOST),
        (r"failed to initialize nvml", Fault.UNKNOWN_ERROR),
        (r"couldn['\u2019]?t find libnvidia-ml", Fault.LIBRARY),
        (r"libnvidia-ml\.so\S*: cannot open shared object", Fault.LIBRARY),
        (r"infoROM is corrupted", Fault.INFOROM),
        (r"nvidia-smi ?: (command )?not found", Fault.NOT_INSTALLED),
        (_LOCALISED, Fault.NOT_INSTALLED),
        (r"command '?nvidia-smi'? not found|command not found: nvidia-smi", Fault.NOT_INSTALLED),
        (r"nvidia-smi'?: no such file or directory", Fault.NOT_INSTALLED),
        (r"no devices (were )?found", Fault.NO_DEVICES),
    )
)

# nvidia-smi(1) RETURN VALUE; 18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH; 124/137 timeout(1); 127 the shell.
_CODES = {
    4: Fault.NO_PERMISSION,
    6: Fault.NO_DEVICES,
    8: Fault.POWER,
    9: Fault.NOT_LOADED,
    10: Fault.INTERRUPT,
    12: Fault.LIBRARY,
    13: Fault.LIBRARY,
    14: Fault.INFOROM,
    15: Fault.LOST,
    18: Fault.MISMATCH,
    124: Fault.HANGS,
    137: Fault.HANGS,
    127: Fault.NOT_INSTALLED,
}


@dataclass(frozen=True, slots=True)
class GpuFault:
    """GPUs that do not answer, with those that still do.

    `detail` is the driver's own message or the faulty device, as printed.
    """

    kind: Fault
    detail: str = ""
    healthy: tuple[GPU, ...] = field(default=())

    @property
    def found(self) -> str:
        """What was found and what was expected, with the driver's words."""
        found = _SENTENCES[self.kind][0]
        return f"{found} ({self.detail})" if self.detail else found

    @property
    def remedy(self) -> str:
        """What to do next."""
        return _SENTENCES[self.kind][1]

    def sentence(self, host: str) -> str:
        """One sentence for a person: host, found, expected, next."""
        return f"{host}: {self.found}; {self.remedy}."


def from_message(text: str) -> GpuFault | None:
    """The fault that a message names, None when no known message is in the text."""
    for line in text.splitlines():
        for pattern, kind in _MESSAGES:
            if pattern.search(line):
                return GpuFault(kind, line.strip()[:200])
    return None


def from_exit(status: int, text: str) -> GpuFault | None:
    """The fault of a run of nvidia-smi: its message where one is known, else its exit code; None on success."""
    said = from_message(text)
    if said:
        return said
    if status == 0:
        return None
    first = text.strip().partition("\n")[0][:160]
    return GpuFault(_CODES.get(status, Fault.OTHER), f"exit code {status}" + (f": {first}" if first else ""))
