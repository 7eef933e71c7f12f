"""What the host must have installed before a virtual machine can be built and booted."""

import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["REQUIRED_HOST_PACKAGES", "missing_host_packages"]


def _command(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is not None


def _file(pattern: str) -> Callable[[], bool]:
    return lambda: any(Path("/").glob(pattern))


_PROBES: dict[str, Callable[[], bool]] = {
    "qemu-system-x86": _command("qemu-system-x86_64"),
    "seabios": _file("usr/share/seabios/bios-256k.bin"),
    "mmdebstrap": _command("mmdebstrap"),
    "debian-archive-keyring": _file("usr/share/keyrings/debian-archive-keyring.gpg"),
    "e2fsprogs": _command("mkfs.ext4"),
    "kmod": _command("depmod"),
    "lz4": _command("lz4"),
    "util-linux": _command("setpriv"),
    "gcc": _command("gcc"),
    "libc6-dev": _file("usr/lib/*/libc.a"),
}
"""Package -> does it seem to be there? Asked of the files it brings, which costs no dpkg."""

REQUIRED_HOST_PACKAGES = tuple(_PROBES)


def missing_host_packages() -> list[str]:
    """Names the apt packages that have to be installed first; empty when nothing is missing."""
    return [package for package, is_there in _PROBES.items() if not is_there()]
