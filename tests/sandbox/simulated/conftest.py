"""A simulated machine in a directory: the hardware installed, stand-in packages unpacked, no guest booted."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingot.sandbox import simulated
from ingot.sandbox.simulated.packages import all_packages

CAPTURES = Path(__file__).parent / "captures"
RELEASE = os.uname().release


def capture(name: str) -> str:
    """A captured output, without the line that names its source."""
    return (CAPTURES / f"{name}.txt").read_text().split("\n", 1)[1]


@dataclass(frozen=True)
class Machine:
    """A directory that the stand-ins take for the root of a host."""

    root: Path

    def call(self, module: str, *arguments: str, call: str = "main(sys.argv[1:])") -> tuple[int, str, str]:
        """Exit status, output and errors of one stand-in."""
        library = str(self.root / "usr/lib/ingot-simulated")
        function = call.split("(")[0]
        code = (
            f"import sys; sys.path.insert(0, {library!r}); from standins.{module} import {function}; sys.exit({call})"
        )
        done = subprocess.run(
            [sys.executable, "-B", "-c", code, *arguments],
            env={**os.environ, "INGOT_SIMULATED_ROOT": str(self.root)},
            check=False,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def smi(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of nvidia-smi."""
        status, output, errors = self.call("nvidia_smi", *arguments)
        assert not errors, errors
        return status, output

    def modprobe(self, *arguments: str) -> tuple[int, str]:
        """Exit status and message of modprobe."""
        status, _, errors = self.call("modprobe", *arguments, call="main('modprobe', sys.argv[1:])")
        return status, errors.strip()

    def set(self, path: str, value: str) -> None:
        """Change the hardware as a test does on a guest."""
        status, _, errors = self.call("control", "set", path, value)
        assert status == 0, errors

    def boot(self) -> None:
        """Power on."""
        status, _, errors = self.call("control", "boot")
        assert status == 0, errors

    def unpack(self, version: str, *names: str) -> None:
        """Put the files of packages in place; the module is built as the package's script would."""
        for package in all_packages(RELEASE):
            if package.name in names and package.version.startswith(version):
                for path, text in {**package.files, **package.programs}.items():
                    place = self.root / path.lstrip("/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(text)
                for path, target in package.links.items():
                    place = self.root / path.lstrip("/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.unlink(missing_ok=True)
                    place.symlink_to(f"{self.root}{target}" if target.startswith("/") else target)

    def install_driver(self, version: str, module: str = "nvidia-kernel-open-dkms") -> tuple[int, str]:
        """Headers, libraries and module of one driver version, replacing any other; dkms' status and errors."""
        for library in (self.root / "usr/lib/x86_64-linux-gnu").glob("lib*.so.[0-9]*.*"):
            library.unlink()
        self.call("dkms", "remove", "--all")
        for source in (self.root / "usr/src").glob("nvidia-*/dkms.conf"):
            source.unlink()
        self.unpack("1.0", f"linux-headers-{RELEASE}")
        self.unpack(version, "libnvidia-ml1", "libcuda1", "nvidia-kernel-support", module)
        status, _, errors = self.call("dkms", "install", f"nvidia/{version}")
        return status, errors


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    """A machine with the profile that the test is marked with by indirect parametrization, booted once."""
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    simulated.install(tmp_path, request.param, RELEASE)
    made = Machine(tmp_path)
    made.boot()
    return made
