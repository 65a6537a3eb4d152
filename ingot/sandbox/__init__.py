"""Throwaway test hosts: real Debian machines (systemd, sshd, apt, docker, reboot) with simulated hardware."""

from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.host import TestHost
from ingot.sandbox.paths import Paths
from ingot.sandbox.sandbox import Sandbox

__all__ = ["CommandFailed", "Paths", "Sandbox", "SandboxError", "TestHost"]
