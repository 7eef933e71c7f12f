"""The virtual machine's disk: the base of `debian.py`, and the guest's own files of `guest/`."""

import io
import os
import py_compile
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.vm.steps import progress, run_step

__all__ = ["GUEST_DIR", "make_disk"]

GUEST_DIR = Path(__file__).parent / "guest"

# Static programs of /usr/local/bin, and their sources.
PROGRAMS = {"hog": ("hog.c", "hog_memory.c", "hog_family.c"), "launch": ("launch.c",)}

# Only what makes a boot slower, or writes to the console; nothing that oomd has to live with.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    # Its hang-up of the console would take away what is written there.
    "serial-getty@ttyS0.service",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    # The journal stays in memory, the root file system is writable, the users are in the image.
    "systemd-journal-flush.service",
    "systemd-remount-fs.service",
    "systemd-sysusers.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-user-sessions.service",
)

# Each is a program that every boot would run to find out that there is nothing to do.
MASKED_GENERATORS = (
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-veritysetup-generator",
)


def make_disk(directory: Path, base: Path, tree: Path | None = None) -> None:
    """Makes `disk.img`, an ext4 file system on a bare disk, in `directory`.

    With `tree`, an unpacked archive of the working tree: oomd is installed from it by its own
    packaging/install, in a chroot. That is the same script as on a real machine, at the host's
    speed; it takes root.
    """
    log = directory / "build.log"
    progress("3/4 compiling what the guest needs")
    for program, sources in PROGRAMS.items():
        run_step(_compile_command(directory / program, sources), log=log, cwd=GUEST_DIR)
    _write_overlay(directory)
    progress("4/4 making the disk (about 10 s)")
    script = """
        mkdir root
        tar -C root -xf "$1"
        tar -C root --keep-directory-symlink -xf overlay.tar
        if [ -n "$2" ]; then
            cp -R "$2" root/usr/src/oomd
            unshare --mount sh -euc '
                mount -t proc proc root/proc
                mount --rbind /dev root/dev
                chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
                    /usr/src/oomd/packaging/install --no-start
            '
        fi
        mkfs.ext4 -q -F -E lazy_itable_init=0 -d root disk.img 1500M
        rm -r root overlay.tar hog launch
    """
    sbin = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    source = str(tree) if tree else ""
    command = ["sh", "-euc", script, "sh", str(base / "root.tar"), source]
    run_step(command, log=log, cwd=directory, environment=sbin)


def _compile_command(output: Path, sources: Sequence[str]) -> list[str]:
    warnings = ["-Wall", "-Wextra", "-Werror"]
    return [
        "gcc",
        "-std=gnu17",
        "-O2",
        "-static",
        "-pthread",
        *warnings,
        "-o",
        str(output),
        *sources,
    ]


def _write_overlay(directory: Path) -> None:
    with tarfile.open(directory / "overlay.tar", "w") as tar:
        for program in PROGRAMS:
            _add(tar, f"usr/local/bin/{program}", (directory / program).read_bytes(), mode=0o755)
        for path in sorted((GUEST_DIR / "rootfs").rglob("*")):
            if path.is_file():
                _add(tar, str(path.relative_to(GUEST_DIR / "rootfs")), path.read_bytes())
        _add_agent(tar, directory)
        for unit in MASKED_UNITS:
            _link(tar, f"etc/systemd/system/{unit}", "/dev/null")
        for generator in MASKED_GENERATORS:
            _link(tar, f"etc/systemd/system-generators/{generator}", "/dev/null")
        _link(tar, "etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
        wants = "etc/systemd/system/sysinit.target.wants"
        _link(tar, f"{wants}/vm-agent.service", "../vm-agent.service")


def _add_agent(tar: tarfile.TarFile, scratch: Path) -> None:
    """The agent's modules under the names they have here, compiled if this Python is the guest's.

    The two `__init__` above them are left empty: what they import is the host's affair.
    """
    library = "usr/local/lib/oomd-vm/tests"
    for name in ("__init__.py", "vm/__init__.py"):
        _add(tar, f"{library}/{name}", b"")
    for path in sorted(GUEST_DIR.glob("*.py")):
        _add(tar, f"{library}/vm/guest/{path.name}", path.read_bytes())
        if sys.version_info[:2] == (3, 11):
            compiled = scratch / "module.pyc"
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            there = f"/{library}/vm/guest/{path.name}"
            py_compile.compile(str(path), str(compiled), there, True, invalidation_mode=mode)
            cached = f"__pycache__/{path.stem}.cpython-311.pyc"
            _add(tar, f"{library}/vm/guest/{cached}", compiled.read_bytes())
            compiled.unlink()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)
