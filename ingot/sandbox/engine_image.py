"""The engine image of test hosts: real vLLM on CPU over a small Debian 12, put together without docker.

Two layers: a Debian with Python 3.11, and vLLM with what it needs to serve a text model. Kept in the cache with a key
of everything that decides its content, so that it is built once.
"""

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ingot.sandbox import docker_archive, image, requirements, wheels
from ingot.sandbox.commands import run
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import locked, write_file

VERSION = "0.32.0"
NAME = f"ingot/vllm-cpu:{VERSION}"
#: Where torch's CPU build, which is not on the package index, comes from when this machine's pip knows no place.
INDEXES = {"torch": "https://download.pytorch.org/whl/cpu"}
LOCK = Path(__file__).with_name("engine-image.lock")

SUITE = "debian12"
PACKAGES = ("libnuma1", "python3.11")
BUILD_PACKAGES = ("binutils",)
SITE = "usr/local/lib/python3.11/dist-packages"
STANDARD_LIBRARY = "usr/lib/python3.11"
HOME = "/home/vllm"
USER_ID = 2000
STEP_LIMIT_S = 1800
#: How many images stay in the cache.
KEPT = 3

# As vllm/vllm-openai has it, so that the role takes the same path.
CONFIG = {
    "Entrypoint": ["vllm", "serve"],
    "Env": [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"HOME={HOME}",
        "LANG=C.UTF-8",
        "PYTHONDONTWRITEBYTECODE=1",
        # There is no compiler in the image, and a few requests (logprobs) would ask for one even with --enforce-eager.
        "TORCH_COMPILE_DISABLE=1",
        # The worker within the engine core: one interpreter less to start, half a gigabyte less to hold.
        "VLLM_ENABLE_V1_MULTIPROCESSING=0",
        # The tiny model gains nothing by more threads, and several engines share a machine.
        "OMP_NUM_THREADS=1",
        # Kernels for AVX2, whatever the processor has beyond: ATen's, oneDNN's, MKL's, OpenBLAS's.
        "ATEN_CPU_CAPABILITY=avx2",
        "ONEDNN_MAX_CPU_ISA=AVX2",
        "MKL_ENABLE_INSTRUCTIONS=AVX2",
        "OPENBLAS_CORETYPE=Haswell",
    ],
    "ExposedPorts": {"8000/tcp": {}},
    "User": str(USER_ID),
    "WorkingDir": HOME,
}

# vLLM asks for the version of "vllm", and takes itself for a CPU build by the word "cpu" in it.
METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
# vLLM starts one more interpreter to learn what a class of models can do, and keeps that in its cache: a seventh of
# a first start. For the tiny text model it is learnt here, and put into a cache that has nothing yet.
INSPECTED = "usr/local/share/vllm"
INSPECT = """from vllm.model_executor.models.registry import ModelRegistry

ModelRegistry.models["Qwen3ForCausalLM"].inspect_model_cls()
"""
LAUNCHER = f"""#!/usr/bin/python3.11
import contextlib
import os
import shutil
import sys

from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    if cache := os.environ.get("VLLM_CACHE_ROOT"):
        with contextlib.suppress(OSError):
            shutil.copytree("/{INSPECTED}/modelinfos", cache + "/modelinfos")
    sys.exit(main())
"""
# A start is several interpreters importing torch and vLLM one after the other: a collector that runs less often takes
# a sixth off that.
LAZY_COLLECTOR = "import gc; gc.set_threshold(100_000, 20, 20)\n"

# vLLM chooses its kernels, and among its ways to multiply, by what torch says of the processor, and no variable caps
# that. Its kernels for AMX died of SIGILL on processors that have it; with these answers every processor takes the way
# of one that has AVX2 and nothing beyond.
PROCESSOR = "torch/cpu/__init__.py"
BEYOND_AVX2 = (
    "_is_avx512_supported",
    "_is_avx512_bf16_supported",
    "_is_vnni_supported",
    "_is_amx_tile_supported",
    "_is_amx_fp16_supported",
)
# vLLM's engine core is a second process. On a processor it imports all that the first one has imported, for which a
# start takes half as long again; begun as a copy of the first, as vLLM does elsewhere where it is told to, it has it.
PLATFORM = "vllm/platforms/cpu.py"
BEGINS_ANEW, BEGINS_AS_COPY = (f'os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "{how}"' for how in ("spawn", "fork"))
#: vLLM's kernels for other processors.
UNUSED_KERNELS = ("vllm/_C.abi3.so", "vllm/_C_AVX512.abi3.so")

# Debian's part that no program of the image reads.
UNUSED_BASE = (
    "dev",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "var/cache",
    "var/lib/apt",
    "var/log",
    "var/tmp",
)
# What is for building extensions and for testing; torch looks for one program in torch/bin when it is imported.
UNUSED_PREFIXES = ("torch/include/", "torch/share/", "torch/test/", "tvm_ffi/3rdparty/", "tvm_ffi/include/")
UNUSED_SUFFIXES = (".a", ".c", ".cc", ".cmake", ".cpp", ".cuh", ".h", ".hpp", ".pxd", ".pyi", ".pyx")
TORCH_PROGRAM = "torch/bin/torch_shm_manager"
# Symbols take more room than code in these; other libraries were moved by their packagers in ways strip breaks.
STRIPPED = ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_python.so", "vllm/*.so")
# One of hundreds of modules is ever used here: left to be compiled when it is. The last is written for Python 3.12.
NOT_COMPILED = (
    "transformers/models/",
    "vllm/model_executor/models/",
    "vllm/models/",
    "sympy/physics/",
    "torch/testing/_internal/py312_",
)
# Except for the tiny model's.
COMPILED = (
    "transformers/models/__init__.py",
    "transformers/models/auto",
    "transformers/models/qwen3",
    "vllm/model_executor/models/__init__.py",
    "vllm/model_executor/models/adapters.py",
    "vllm/model_executor/models/interfaces.py",
    "vllm/model_executor/models/interfaces_base.py",
    "vllm/model_executor/models/qwen2.py",
    "vllm/model_executor/models/qwen3.py",
    "vllm/model_executor/models/registry.py",
    "vllm/model_executor/models/utils.py",
)

# A step dies with its caller, with everything it started and every mount it made.
_ISOLATED = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc"


@dataclass(frozen=True)
class EngineImage:
    """A built image, as its JSON file beside the archive tells; `archive` is that archive's file name."""

    image: str
    image_id: str
    archive: str
    sha256: str
    bytes: int
    vllm_version: str
    key: str


def ensure(paths: Paths, say: Callable[[str], None], indexes: Mapping[str, str] = INDEXES) -> EngineImage:
    """The image in the mirror, built now if the cache has none with these contents.

    Raises: SandboxError when this machine cannot build or run it, or a download fails.
    """
    requirements.check_processor()
    key = _key()
    made = read(paths, key)
    if made is None:
        with locked(_work(paths) / "lock"):
            made = read(paths, key) or _build(paths, key, say, indexes)
    return made


def read(paths: Paths, key: str) -> EngineImage | None:
    """The image of this key in the mirror; None where there is none."""
    directory = _directory(paths)
    try:
        made = EngineImage(**json.loads(_record(paths, key).read_text()))
        return made if (directory / made.archive).stat().st_size == made.bytes else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def base_command(recipe: image.Recipe, root: Path) -> list[str]:
    """The mmdebstrap call that makes the first layer's file system."""
    return [
        *_ISOLATED.split(),
        *("env", f"SOURCE_DATE_EPOCH={docker_archive.EPOCH_S}"),
        *("mmdebstrap", "--mode=root", "--variant=minbase"),
        f"--include={','.join((*PACKAGES, *BUILD_PACKAGES))}",
        *(f"--aptopt={option}" for option in (*recipe.apt_options, 'Acquire::Languages "none";')),
        image.SUITES[recipe.os],
        str(root),
        *recipe.sources,
    ]


def keep_base(name: str) -> bool:
    """Whether a path of the root file system goes into the first layer."""
    return name not in UNUSED_BASE and not name.startswith((f"{SITE}/", INSPECTED, "home/vllm", "usr/local/bin/"))


def keep_site(name: str) -> bool:
    """Whether a file of a wheel goes into the second layer."""
    if name.startswith("torch/bin/"):
        return name == TORCH_PROGRAM
    if name in UNUSED_KERNELS:
        return False
    parts = name.split("/")[:-1]
    return not (name.startswith(UNUSED_PREFIXES) or name.endswith(UNUSED_SUFFIXES) or "tests" in parts)


def _build(paths: Paths, key: str, say: Callable[[str], None], indexes: Mapping[str, str]) -> EngineImage:
    work = _work(paths)
    for leftover in work.glob("building-*"):
        shutil.rmtree(leftover)
    kept = work / "wheels"
    packages = wheels.fetch(LOCK, kept, say, indexes)
    building = work / f"building-{key}"
    root = building / "root"
    building.mkdir()
    try:
        say("building the engine image: Debian 12 with Python 3.11")
        run(base_command(image.recipe_for(SUITE), root), timeout_s=STEP_LIMIT_S)
        say(f"building the engine image: vLLM {VERSION} from {len(packages)} packages")
        _add_site(root, packages)
        _add_own_files(root)
        _finish(root, say)
        say("building the engine image: packing")
        made = _pack(paths, root, building, key)
    except CommandFailed as failed:
        last = str(failed).strip().splitlines()[-1]
        raise SandboxError(f"the engine image could not be built: {last}") from failed
    finally:
        shutil.rmtree(building, ignore_errors=True)
    say(f"the engine image is ready ({made.bytes / 1e6:.0f} MB)")
    return made


def _add_site(root: Path, packages: list[Path]) -> None:
    for wheel in packages:
        wheels.unpack(wheel, root / SITE, keep_site)


def _add_own_files(root: Path) -> None:
    write_file(root / SITE / f"vllm-{VERSION}+cpu.dist-info" / "METADATA", METADATA)
    write_file(root / SITE / "ingot-collector.pth", LAZY_COLLECTOR)
    write_file(root / "usr/local/bin/vllm", LAUNCHER, mode=0o755)
    for name, changed in ((PROCESSOR, processor_of_all_machines), (PLATFORM, platform_that_copies)):
        module = root / SITE / name
        module.write_text(changed(module.read_text()))
    (root / "usr/local/bin/python3").symlink_to("/usr/bin/python3.11")
    home = root / HOME.lstrip("/")
    home.mkdir(parents=True)
    home.chmod(0o770)
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write(f"vllm:x:{USER_ID}:0:vLLM:{HOME}:/bin/sh\n")


def processor_of_all_machines(source: str) -> str:
    """torch's module about the processor, changed to know of nothing beyond AVX2.

    Raises: SandboxError when it does not ask what it is known to ask.
    """
    unknown = [name for name in BEYOND_AVX2 if f"def {name}(" not in source]
    if unknown:
        raise SandboxError(f"torch's {PROCESSOR} has no {unknown[0]}: look how this version asks for the processor")
    return source + f"\n\n# Ingot: one way on every machine.\n{' = '.join(BEYOND_AVX2)} = lambda: False\n"


def platform_that_copies(source: str) -> str:
    """vLLM's module of the platform, changed to begin the engine core as a copy of the process that serves.

    Raises: SandboxError when it does not say how it begins one as it is known to.
    """
    if source.count(BEGINS_ANEW) != 1:
        raise SandboxError(f"vLLM's {PLATFORM} has no {BEGINS_ANEW}: look how this version begins its engine core")
    return source.replace(BEGINS_ANEW, BEGINS_AS_COPY)


def _finish(root: Path, say: Callable[[str], None]) -> None:
    """Strip and compile with the image's own tools, then remove what only this step needed."""
    libraries = sorted(f"/{path.relative_to(root)}" for name in STRIPPED for path in (root / SITE).glob(name))
    _inside(root, "strip", "--strip-unneeded", *libraries)
    say("building the engine image: compiling")
    # Bytecode that trusts its source whatever its date: dates are not kept, and the container could not write anew.
    compile_ = ("python3.11", "-m", "compileall", "-q", "-f", "-j", "0", "--invalidation-mode", "unchecked-hash")
    _inside(root, *compile_, "-x", f"/({'|'.join(NOT_COMPILED)})", f"/{STANDARD_LIBRARY}", f"/{SITE}")
    _inside(root, *compile_, *(f"/{SITE}/{name}" for name in COMPILED))
    inspecting = ("env", f"VLLM_CACHE_ROOT=/{INSPECTED}", "HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1")
    _inside(root, *inspecting, "python3.11", "-c", INSPECT)
    # It was written for its owner alone, and is copied by the user that serves.
    _inside(root, "chmod", "-R", "a+rX", f"/{INSPECTED}")
    _inside(root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "purge", "-qq", "--autoremove", *BUILD_PACKAGES)


def _inside(root: Path, *argv: str) -> None:
    run([*_ISOLATED.split(), "chroot", str(root), *argv], timeout_s=STEP_LIMIT_S)


def _pack(paths: Paths, root: Path, building: Path, key: str) -> EngineImage:
    base = docker_archive.write_layer(building / "base.tar", root, keep_base)
    site = docker_archive.write_layer(building / "site.tar", root, _keep_second_layer, _owner)
    archive = docker_archive.write_archive(building / "image.tar", NAME, [base, site], CONFIG)
    made = EngineImage(NAME, archive.image_id, f"vllm-cpu-{key}.tar", archive.sha256, archive.size, VERSION, key)
    directory = _directory(paths)
    directory.mkdir(parents=True, exist_ok=True)
    (building / "image.tar").replace(directory / made.archive)
    write_file(_record(paths, key), json.dumps(made.__dict__, indent=2) + "\n")
    _forget_old(directory)
    return made


def _forget_old(directory: Path) -> None:
    """Remove all but the newest images: checkouts of several versions may share one cache, and each keeps its own."""
    newest_first = sorted(directory.glob("vllm-cpu-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for record in newest_first[KEPT:]:
        record.unlink()
        record.with_suffix(".tar").unlink(missing_ok=True)


def _keep_second_layer(name: str) -> bool:
    roots = (SITE, HOME.lstrip("/"), "usr/local/bin", INSPECTED)
    return any(name == root or name.startswith(f"{root}/") or root.startswith(f"{name}/") for root in roots)


def _owner(name: str) -> tuple[int, int]:
    return (USER_ID, 0) if name == HOME.lstrip("/") else (0, 0)


def _key() -> str:
    code = "".join(inspect.getsource(module) for module in (wheels, docker_archive))
    content = "\n".join((LOCK.read_text(), code, Path(__file__).read_text()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _directory(paths: Paths) -> Path:
    return paths.mirror / "images"


def _record(paths: Paths, key: str) -> Path:
    return _directory(paths) / f"vllm-cpu-{key}.json"


def _work(paths: Paths) -> Path:
    return paths.cache / "engine-image"
