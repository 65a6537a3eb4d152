"""What a test host may not do to the machine it runs on.

A guest's root has the user id of this machine's root, so rights are taken away one by one: capabilities (and with each
the system calls that systemd-nspawn lets through for it alone), devices, and the kernel's settings. Devices and
settings are judged by two small BPF programs on the guest's cgroup, as systemd does it for services; they stand above
everything that the guest can reach, so it cannot take them off.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from pathlib import Path

from ingot.sandbox.errors import SandboxError

#: Rights that systemd-nspawn gives by default and no host needs. Opening files by handle reaches every file of the
#: file systems that a guest's directories lie on, outside of the guest too.
DROPPED = ("CAP_DAC_READ_SEARCH",)
#: System calls that dockerd needs beyond systemd-nspawn's own list, which leaves out those of rights that are not
#: given: setting the clock, loading modules, input and output by port, the kernel's log.
SYSTEM_CALLS = ("@keyring", "@mount", "@resources", "bpf")

#: Character devices that mean nothing beyond a guest: major, and minor (None: all of them).
DEVICES: tuple[tuple[int, int | None], ...] = (
    *((1, minor) for minor in (3, 5, 7, 8, 9)),  # null, zero, full, random, urandom
    *((5, minor) for minor in (0, 1, 2)),  # tty, console, ptmx
    *((major, None) for major in range(136, 144)),  # the terminals of /dev/pts
    (10, 200),  # net/tun: in the guest's own network
)

_BPF = {"x86_64": 321, "aarch64": 280}
# linux/bpf.h: commands, program types, where they are attached, and the flag that lets a guest's own (dockerd's)
# stand below.
_LOAD, _ATTACH = 5, 8
_CGROUP_DEVICE, _CGROUP_SYSCTL = (15, 6), (23, 18)
_ALLOW_MULTI = 2
_SYSCTL_GET_NAME = 101

_R0, _R1, _R2, _R3, _R4, _R5, _R6, _R10 = 0, 1, 2, 3, 4, 5, 6, 10


def confine(group: Path) -> None:
    """Attach both programs to a cgroup: whatever is started in it or below is judged by them.

    Raises: SandboxError where the kernel does not take them.
    """
    for (kind, place), program in ((_CGROUP_DEVICE, device_program()), (_CGROUP_SYSCTL, sysctl_program())):
        try:
            _attach(group, place, _load(kind, program))
        except OSError as problem:
            raise SandboxError(
                f"this machine's kernel does not confine test hosts by BPF on cgroups ({problem.strerror}): "
                "use one that is built with CONFIG_CGROUP_BPF"
            ) from problem


def device_program(devices: Iterable[tuple[int, int | None]] = DEVICES) -> bytes:
    """Allows making, reading and writing `devices` and no others: BPF instructions over `struct bpf_cgroup_dev_ctx`."""
    rules = b""
    for major, minor in devices:
        allow = _move(_R0, 1) + _exit()
        matches = _jump_unless(_R4, minor, allow) + allow if minor is not None else allow
        rules += _jump_unless(_R3, major, matches) + matches
    # access_type: the kind of device in its lower half, 2 being a character device.
    judged = _load_word(_R3, _R1, 4) + _load_word(_R4, _R1, 8) + rules
    begin = _load_word(_R2, _R1, 0) + _and(_R2, 0xFFFF)
    return begin + _jump_unless(_R2, 2, judged) + judged + _move(_R0, 0) + _exit()


def sysctl_program() -> bytes:
    """Allows reading every setting of the kernel and writing those below net/, which are the guest's own network's."""
    size = 128
    allow = _move(_R0, 1) + _exit()
    buffer = b"".join(_store(_R10, -offset, 0) for offset in range(8, size + 1, 8))
    name = _copy(_R2, _R10) + _add(_R2, -size) + _move(_R3, size) + _move(_R4, 0) + _call(_SYSCTL_GET_NAME)
    net = int.from_bytes(b"net/", "little")
    judged = buffer + name + _load_word(_R5, _R10, -size) + _jump_unless(_R5, net, allow) + allow
    judged += _move(_R0, 0) + _exit()
    # The first word: whether it is written.
    begin = _load_word(_R2, _R1, 0)
    return begin + _jump_unless(_R2, 0, allow) + allow + judged


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, destination | source << 4, offset, value)


def _load_word(destination: int, source: int, offset: int) -> bytes:
    return _instruction(0x61, destination, source, offset)


def _store(destination: int, offset: int, value: int) -> bytes:
    return _instruction(0x7A, destination, 0, offset, value)


def _move(destination: int, value: int) -> bytes:
    return _instruction(0xB7, destination, value=value)


def _copy(destination: int, source: int) -> bytes:
    return _instruction(0xBF, destination, source)


def _add(destination: int, value: int) -> bytes:
    return _instruction(0x07, destination, value=value)


def _and(destination: int, value: int) -> bytes:
    return _instruction(0x57, destination, value=value)


def _call(function: int) -> bytes:
    return _instruction(0x85, value=function)


def _exit() -> bytes:
    return _instruction(0x95)


def _jump_unless(register: int, value: int, block: bytes) -> bytes:
    """Pass over `block` (which follows) unless the register has this value."""
    return _instruction(0x55, register, 0, len(block) // 8, value)


def _load(kind: int, program: bytes) -> int:
    """Hand a program to the kernel. Returns: its descriptor."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # Only programs under a licence of the GPL's kind may call some helpers; these need none of those.
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQIIQII", kind, len(program) // 8, ctypes.addressof(instructions), ctypes.addressof(licence), 0, 0, 0, 0, 0
    )
    return _bpf(_LOAD, attributes)


def _attach(group: Path, place: int, program: int) -> None:
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _bpf(_ATTACH, struct.pack("=IIII", directory, program, place, _ALLOW_MULTI))
    finally:
        os.close(directory)
        os.close(program)


def _bpf(command: int, attributes: bytes) -> int:
    number = _BPF.get(platform.machine())
    if number is None:
        raise OSError(0, f"the number of its system call on {platform.machine()} is not known here")
    given = ctypes.create_string_buffer(attributes, len(attributes))
    done = int(ctypes.CDLL(None, use_errno=True).syscall(number, command, given, len(attributes)))
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done
