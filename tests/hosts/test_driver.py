"""The driver that is installed is the one that runs, stays it, and every GPU answers it."""

from __future__ import annotations

from tests.hosts.look import Look
from tests.hosts.target import Target

#: What unattended upgrades must leave alone, as apt prints its list.
BLOCKED = ("nvidia-", "libnvidia-", "libcuda1", "cuda-drivers", "linux-modules-nvidia-", "nvlsm")

#: A host that only fronts others has none of this, nor has one that serves on its processor.
OF_GPU_HOSTS = True


def test_module_files_and_user_space_are_of_the_driver_that_runs(target: Target, look: Look) -> None:
    found = look.driver
    target.expect(found.running, "no NVIDIA module is loaded; deploy, or reboot and look at dmesg")
    target.expect(
        found.running == found.on_disk, f"the kernel runs driver {found.running}, {found.on_disk} is installed; reboot"
    )
    target.expect(
        found.library in (None, found.running),
        f"the kernel runs driver {found.running}, user space is of {found.library}; deploy again",
    )


def test_the_module_is_of_the_flavour_that_was_decided(target: Target, look: Look) -> None:
    decided = look.evidence.get("decided", {}).get("flavour")
    target.expect(decided, "/var/lib/ingot/driver.json does not say what was decided; deploy")
    target.expect(
        look.driver.running_flavour == decided,
        f"the {look.driver.running_flavour} kernel module runs, {decided} was decided; deploy again",
    )


def test_the_record_of_the_driver_is_of_the_one_that_runs(target: Target, look: Look) -> None:
    recorded = look.evidence.get("driver", {}).get("version")
    target.expect(
        recorded == look.driver.running, f"driver {look.driver.running} runs, {recorded} is recorded; deploy again"
    )


def test_every_kernel_with_headers_has_the_module(target: Target, look: Look) -> None:
    without = [kernel.release for kernel in look.driver.kernels if kernel.headers and not kernel.module]
    target.expect(not without, f"no NVIDIA module for kernel {', '.join(without)}, which may boot next; deploy again")


def test_every_gpu_on_the_bus_answers(target: Target, look: Look) -> None:
    on_bus = look.driver.bus.gpus
    target.expect(on_bus, "no NVIDIA GPU on the PCI bus")
    # Where gpus_use leaves GPUs alone, what those do is not Ingot's; that the used ones answer shows in the containers.
    target.expect(
        look.gpu_uuids and (target.values.gpus_use is not None or len(look.gpu_uuids) == len(on_bus)),
        f"{len(on_bus)} GPUs on the PCI bus, {len(look.gpu_uuids)} answer: "
        f"{look.gpus.fault.found if look.gpus.fault else ''}",
    )


def test_every_gpu_is_driven_by_the_nvidia_module(target: Target, look: Look) -> None:
    others = [f"{one.address} by {one.driver}" for one in look.driver.bus.gpus if one.driver != "nvidia"]
    target.expect(
        not others or target.values.gpus_use is not None,
        f"driven by something else than nvidia: {', '.join(others)}; deploy and reboot",
    )


def test_nouveau_stays_away(target: Target, look: Look) -> None:
    loaded = {"nouveau", "nova_core"} & set(look.lines("modules"))
    target.expect(not loaded, f"{', '.join(loaded)} is loaded; reboot")
    target.expect("blacklist nouveau" in look.lines("modules"), "nouveau is not blacklisted; deploy again")


def test_persistence_mode_is_on(target: Target, look: Look) -> None:
    target.expect(
        look.unit("nvidia-persistenced") == "active enabled",
        f"nvidia-persistenced is {look.unit('nvidia-persistenced')}, expected active and enabled; deploy again",
    )
    off = [str(row.index) for row in look.gpus.rows if row.persistence is False]
    target.expect(not off, f"persistence mode is off for GPU {', '.join(off)}; deploy again")


def test_the_fabric_is_managed_where_there_is_one(target: Target, look: Look) -> None:
    decided = look.evidence.get("decided", {}).get("fabric", "none")
    target.expect(
        decided != "none" or not look.driver.bus.nvswitches,
        "there are NVSwitches on the bus and no fabric manager was decided; deploy again",
    )
    if "fabric_manager" in decided:
        state = look.unit("nvidia-fabricmanager")
        target.expect(state == "active enabled", f"nvidia-fabricmanager is {state}; deploy again")
    waiting = [row for row in look.gpus.rows if row.fabric_state not in (None, "Completed")]
    target.expect(
        decided == "none" or not waiting,
        f"the NVLink fabric is not complete for GPU {', '.join(str(row.index) for row in waiting)}; "
        "read journalctl -u nvidia-fabricmanager",
    )


def test_the_drivers_packages_are_held_at_their_versions(target: Target, look: Look) -> None:
    recorded = look.evidence.get("packages", {})
    target.expect(recorded, "/var/lib/ingot/driver.json names no package; deploy")
    now = look.driver.installed
    other = [
        f"{name} {now[name].version if name in now else 'is missing'}"
        for name, version in recorded.items()
        if name not in now or now[name].version != version
    ]
    target.expect(not other, f"other packages than recorded: {', '.join(other)}; deploy again")
    # Tools of a fabric follow no version, and are free to be upgraded.
    free = [name for name in recorded if not now[name].held and "nvidia" in name]
    target.expect(not free, f"not held back from upgrades: {', '.join(free)}; deploy again")


def test_unattended_upgrades_leave_the_driver_alone(target: Target, look: Look) -> None:
    missing = [name for name in BLOCKED if f'"{name}"' not in look.text("blocklist")]
    target.expect(not missing, f"unattended upgrades may change {', '.join(missing)}; deploy again")


def test_package_sources_are_trusted_with_the_pinned_keys_alone(target: Target, look: Look) -> None:
    known = {fingerprint.replace(" ", "").upper() for fingerprint in target.values.sources.fingerprints}
    # A source that was described rightly before Ingot came has the keyring that it names there.
    used = [keys for keys in look.keyrings_of_others.values() if keys and set(keys) <= known]
    target.expect(look.keyrings or used, "no package source has a key of its own; deploy")
    wrong = {path: keys for path, keys in look.keyrings.items() if not keys or not set(keys) <= known}
    target.expect(not wrong, f"keys that nobody pinned: {wrong}; deploy again")
