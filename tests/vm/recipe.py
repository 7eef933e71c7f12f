"""How the virtual machine's disk is made: Debian packages, a kernel, and the guest's own files.

Two stages, because they change at a different pace: the base is Debian as its packages leave it
and takes a minute; the disk adds the files of `guest/` and takes seconds.
"""

import io
import os
import py_compile
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "GUEST_DIR",
    "PACKAGES",
    "SUITE",
    "AptKernel",
    "ImageError",
    "apt_kernel",
    "make_base",
    "make_disk",
    "progress",
]

SUITE = "bookworm"
KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
GUEST_DIR = Path(__file__).parent / "guest"

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    # What oomd uses, and what building its virtual environment without a network takes.
    "python3",
    "python3-systemd",
    "python3-psutil",
    "python3-pyudev",
    "python3-rich",
    "python3-venv",
    "python3-setuptools",
    "python3-wheel",
    "python3-pip",
    "procps",
    "kmod",
    "util-linux",
    "e2fsprogs",
    "strace",
)

# Only what makes a boot slower, or writes to the console; nothing that oomd has to live with.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
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
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-user-sessions.service",
)


class ImageError(Exception):
    """The image cannot be built; the message is one line that says what to do."""


class AptKernel(NamedTuple):
    """The kernel package that the host's apt would fetch."""

    package: str
    version: str

    @property
    def release(self) -> str:
        """What `uname -r` says in a machine that runs it."""
        return self.package.removeprefix("linux-image-")


def progress(text: str) -> None:
    """Says on stderr what takes so long."""
    print(f"vm image: {text}", file=sys.stderr, flush=True)


def _run(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    with log.open("ab") as output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        result = subprocess.run(
            command, check=False, cwd=cwd, env=environment, stdout=output, stderr=output
        )
    if result.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ImageError(f"{command[0]} failed ({result.returncode}), its last words: {lines[-1]}")


def _query(command: Sequence[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


# --- what apt knows -----------------------------------------------------------------------------


def apt_kernel(cache: Path) -> AptKernel:
    """The kernel that the metapackage stands for now, by the host's own apt.

    apt's binary cache is kept in `cache`: container images switch it off, and then each question
    costs a second.
    """
    return (
        _ask_apt_kernel(cache)
        or _update_apt_and_ask(cache)
        or _fail(f"apt does not know {KERNEL_METAPACKAGE}: Debian 12's sources are needed")
    )


def _fail(message: str) -> AptKernel:
    raise ImageError(message)


def _ask_apt_kernel(cache: Path) -> AptKernel | None:
    options = [f"-oDir::Cache::pkgcache={cache}/pkgcache.bin", "-oDir::Cache::srcpkgcache="]
    show = ["apt-cache", *options, "show", "--no-all-versions", KERNEL_METAPACKAGE]
    fields = dict(line.split(": ", 1) for line in _query(show).splitlines() if ": " in line)
    for dependency in fields.get("Depends", "").split(","):
        package = dependency.split("(")[0].strip()
        if package.startswith("linux-image-"):
            return AptKernel(package, fields["Version"])
    return None


def _update_apt_and_ask(cache: Path) -> AptKernel | None:
    if os.geteuid() != 0:
        raise ImageError("apt has no package lists: run `apt-get update` as root first")
    progress("apt-get update (apt has no package lists yet)")
    subprocess.run(["apt-get", "-qq", "update"], check=False, stdout=sys.stderr)
    return _ask_apt_kernel(cache)


def _apt_sources() -> list[str]:
    """The host's own Debian sources, as lines of a sources.list; other vendors' are left out."""
    wanted = "$(ORIGIN)|$(CODENAME)|deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
    lines = _query(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    sources = []
    for line in lines.splitlines():
        origin, codename, source = line.split("|")
        if origin == "Debian" and (codename == SUITE or codename.startswith(f"{SUITE}-")):
            sources.append(source)
    if not sources:
        raise ImageError(f"apt has no Debian sources of {SUITE}: run `apt-get update` as root")
    return list(dict.fromkeys(sources))


def _apt_proxies() -> dict[str, str]:
    """apt's proxies as environment variables, so that they do not end up in the image."""
    proxies = {}
    for scheme in ("http", "https"):
        query = ["apt-config", "dump", "--format", "%v", f"Acquire::{scheme}::Proxy"]
        if proxy := _query(query).strip():
            proxies[f"{scheme}_proxy"] = proxy
    return proxies


# --- the base: Debian and a kernel --------------------------------------------------------------


def make_base(directory: Path, kernel: AptKernel) -> None:
    """Makes `root.tar` and `vmlinux` in `directory`."""
    log = directory / "build.log"
    progress(f"1/4 installing {len(PACKAGES)} Debian packages and what they need (about 50 s)")
    mmdebstrap = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--keyring={KEYRING}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        SUITE,
        str(directory / "root.tar"),
        *_apt_sources(),
    ]
    _run(mmdebstrap, log=log, environment=os.environ | _apt_proxies())
    progress(f"2/4 fetching the kernel {kernel.release}")
    _fetch_kernel(directory, kernel, log)
    _add_modules(directory, kernel, log)
    _unpack_vmlinux(directory, kernel, log)
    _run(["rm", "-r", "kernel"], log=log, cwd=directory)


def _fetch_kernel(directory: Path, kernel: AptKernel, log: Path) -> None:
    unpacked = directory / "kernel"
    unpacked.mkdir()
    _run(["apt-get", "download", f"{kernel.package}={kernel.version}"], log=log, cwd=unpacked)
    (deb,) = unpacked.glob("*.deb")
    _run(["dpkg", "-x", str(deb), str(unpacked)], log=log)


def _add_modules(directory: Path, kernel: AptKernel, log: Path) -> None:
    _run(["/usr/sbin/depmod", "-b", str(directory / "kernel"), kernel.release], log=log)
    append = ["tar", "--append", "-f", "root.tar", "--owner=0", "--group=0"]
    # /lib is a symlink in the guest; an entry below it would replace it by a folder.
    moved = ["--transform", "s,^lib/,usr/lib/,", "-C", "kernel", f"lib/modules/{kernel.release}"]
    _run([*append, *moved], log=log, cwd=directory)


def _unpack_vmlinux(directory: Path, kernel: AptKernel, log: Path) -> None:
    """QEMU boots the bare ELF through its PVH entry; emulated, unpacking costs seconds a boot."""
    image = (directory / f"kernel/boot/vmlinuz-{kernel.release}").read_bytes()
    lz4_legacy_magic = b"\x02\x21\x4c\x18"
    payload = directory / "kernel/payload.lz4"
    payload.write_bytes(image[image.index(lz4_legacy_magic) :])
    # The kernel's build appends the unpacked size, which lz4 takes for a torn block: it has
    # written everything by then, and a bad file would not be an ELF that QEMU accepts.
    unpack = f"lz4 -dqf {payload} {directory}/vmlinux || test -s {directory}/vmlinux"
    _run(["sh", "-c", unpack], log=log)


# --- the disk: the base and the guest's own files -----------------------------------------------


def make_disk(directory: Path, base: Path) -> None:
    """Makes `disk.img`, an ext4 file system on a bare disk, in `directory`."""
    log = directory / "build.log"
    progress("3/4 compiling what the guest needs")
    _run(_compile_command(directory / "hog"), log=log, cwd=GUEST_DIR)
    _write_overlay(directory / "overlay.tar", directory / "hog")
    progress("4/4 making the disk (about 10 s)")
    script = """
        mkdir root
        tar -C root -xf "$1"
        tar -C root --keep-directory-symlink -xf overlay.tar
        mkfs.ext4 -q -F -E lazy_itable_init=0 -d root disk.img 1500M
        rm -r root overlay.tar hog
    """
    # Not root: fakeroot remembers who should own what from tar to mkfs.
    faked = [] if os.geteuid() == 0 else ["fakeroot"]
    sbin = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    command = [*faked, "sh", "-euc", script, "sh", str(base / "root.tar")]
    _run(command, log=log, cwd=directory, environment=sbin)


def _compile_command(output: Path) -> list[str]:
    warnings = ["-Wall", "-Wextra", "-Werror"]
    sources = sorted(path.name for path in GUEST_DIR.glob("*.c"))
    return ["gcc", "-std=gnu17", "-O2", "-static", "-pthread", *warnings, "-o", str(output)] + (
        sources
    )


def _write_overlay(overlay: Path, hog: Path) -> None:
    with tarfile.open(overlay, "w") as tar:
        _add(tar, "usr/local/bin/hog", hog.read_bytes(), mode=0o755)
        for path in sorted((GUEST_DIR / "rootfs").rglob("*")):
            if path.is_file():
                _add(tar, str(path.relative_to(GUEST_DIR / "rootfs")), path.read_bytes())
        _add_agent(tar, overlay.parent)
        for unit in MASKED_UNITS:
            _link(tar, f"etc/systemd/system/{unit}", "/dev/null")
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
            py_compile.compile(str(path), str(compiled), doraise=True, invalidation_mode=mode)
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
