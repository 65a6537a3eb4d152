"""Which boot of the kernel a host is in."""

from pyinfra.api.facts import FactBase

COMMAND = "cat /proc/sys/kernel/random/boot_id"


class BootId(FactBase[str]):
    """The id of the running boot, another one after each reboot.

    Returns: "3f9a3c7e-0e0d-4a4e-9d55-5f3c5ac0a8a1"
    """

    def command(self) -> str:
        return COMMAND
