"""The image with the rivals as Debian's packages leave them, none of them enabled."""

import os
import subprocess
from pathlib import Path

from tests.vm.debian import PACKAGES, apt_kernel, make_base
from tests.vm.disk import make_disk
from tests.vm.image import Image, build_image, cache_dir, cached, digest, locked
from tests.vm.steps import ImageError

__all__ = ["package_version", "rivals_image"]

# Debian's `oomd` is Meta's. It owns /usr/bin/oomd, so that ours has an image of its own.
RIVAL_PACKAGES = ("earlyoom", "nohang", "systemd-oomd", "oomd")
RIVAL_UNITS = ("earlyoom", "nohang", "nohang-desktop", "systemd-oomd", "oomd")


def package_version(package: str) -> str:
    """Of the package that apt would install, and has installed in the image."""
    show = ["apt-cache", "show", "--no-all-versions", package]
    shown = subprocess.run(show, check=False, capture_output=True, text=True).stdout
    versions = [line.split()[1] for line in shown.splitlines() if line.startswith("Version: ")]
    if not versions:
        raise ImageError(f"apt does not know {package}: run `apt-get update` as root")
    return versions[0]


def rivals_image() -> Image:
    """The image of all tests, with the rivals in it; from the cache, or built now (two minutes)."""
    if os.geteuid() != 0:
        raise ImageError("building the image takes root: run it with sudo")
    plain, cache = build_image(), cache_dir()
    kernel = apt_kernel(cache)
    packages = (*PACKAGES, *RIVAL_PACKAGES)
    units = " ".join(f"{unit}.service" for unit in RIVAL_UNITS)
    # Their packages enable them, and one daemon at a time is what is measured.
    options = (f'--customize-hook=chroot "$1" systemctl disable {units}',)
    with locked(cache / "lock"):
        versions = map(package_version, RIVAL_PACKAGES)
        key = digest(plain.kernel.parent.name, *packages, *versions, *options)

        def make(new: Path) -> None:
            make_base(new, kernel, packages, options)

        base = cached(cache, "rivals", key, make)
        disk_key = digest(key, plain.disk.parent.name)
        disk = cached(cache, "storms", disk_key, lambda new: make_disk(new, base))
    return Image(disk=disk / "disk.img", kernel=base / "vmlinux")
