"""The base of the virtual machine's disk: Debian as its packages leave it, and a kernel.

It takes a minute, and changes only with Debian; the guest's own files come on top (`disk.py`).
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.vm.steps import ImageError, progress, run_step

__all__ = ["PACKAGES", "SUITE", "AptKernel", "apt_kernel", "make_base"]

SUITE = "bookworm"
KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

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


class AptKernel(NamedTuple):
    """The kernel package that the host's apt would fetch."""

    package: str
    version: str

    @property
    def release(self) -> str:
        """What `uname -r` says in a machine that runs it."""
        return self.package.removeprefix("linux-image-")


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


def make_base(
    directory: Path,
    kernel: AptKernel,
    packages: Sequence[str] = PACKAGES,
    mmdebstrap_options: Sequence[str] = (),
) -> None:
    """Makes `root.tar` and `vmlinux` in `directory`."""
    log = directory / "build.log"
    progress(f"1/4 installing {len(packages)} Debian packages and what they need (about 50 s)")
    mmdebstrap = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        f"--keyring={KEYRING}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *mmdebstrap_options,
        SUITE,
        str(directory / "root.tar"),
        *_apt_sources(),
    ]
    run_step(mmdebstrap, log=log, environment=os.environ | _apt_proxies())
    progress(f"2/4 fetching the kernel {kernel.release}")
    _fetch_kernel(directory, kernel, log)
    _add_modules(directory, kernel, log)
    _unpack_vmlinux(directory, kernel, log)
    run_step(["rm", "-r", "kernel"], log=log, cwd=directory)


def _fetch_kernel(directory: Path, kernel: AptKernel, log: Path) -> None:
    unpacked = directory / "kernel"
    unpacked.mkdir()
    download = ["apt-get", "download", f"{kernel.package}={kernel.version}"]
    try:
        run_step(download, log=log, cwd=unpacked)
    except ImageError as error:
        raise ImageError(f"{error} (if apt's lists are old: apt-get update)") from None
    (deb,) = unpacked.glob("*.deb")
    run_step(["dpkg", "-x", str(deb), str(unpacked)], log=log)


def _add_modules(directory: Path, kernel: AptKernel, log: Path) -> None:
    run_step(["/usr/sbin/depmod", "-b", str(directory / "kernel"), kernel.release], log=log)
    append = ["tar", "--append", "-f", "root.tar", "--owner=0", "--group=0"]
    # /lib is a symlink in the guest; an entry below it would replace it by a folder.
    moved = ["--transform", "s,^lib/,usr/lib/,", "-C", "kernel", f"lib/modules/{kernel.release}"]
    run_step([*append, *moved], log=log, cwd=directory)


def _unpack_vmlinux(directory: Path, kernel: AptKernel, log: Path) -> None:
    """QEMU boots the bare ELF through its PVH entry; emulated, unpacking costs seconds a boot."""
    image = (directory / f"kernel/boot/vmlinuz-{kernel.release}").read_bytes()
    lz4_legacy_magic = b"\x02\x21\x4c\x18"
    payload = directory / "kernel/payload.lz4"
    payload.write_bytes(image[image.index(lz4_legacy_magic) :])
    # The kernel's build appends the unpacked size, which lz4 takes for a torn block: it has
    # written everything by then, and a bad file would not be an ELF that QEMU accepts.
    unpack = f"lz4 -dqf {payload} {directory}/vmlinux || test -s {directory}/vmlinux"
    run_step(["sh", "-c", unpack], log=log)
