"""The virtual machine with another kernel than its own: one that the host's apt knows."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.vm.debian import AptKernel, make_base
from tests.vm.disk import make_disk
from tests.vm.image import Image, cache_dir, cached, digest, locked
from tests.vm.steps import ImageError

__all__ = ["image_with"]


def _newest(release: str) -> AptKernel:
    """The newest cloud kernel of a series, such as 6.12."""
    names = rf"^linux-image-{re.escape(release)}[.][0-9].*-cloud-amd64$"
    search = ["apt-cache", "search", "--names-only", names]
    listing = subprocess.run(search, check=True, capture_output=True, text=True).stdout
    packages = [line.split()[0] for line in listing.splitlines()]
    if not packages:
        raise ImageError(f"apt knows no cloud kernel of {release}")

    def numbers(package: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", package)]

    newest = max(packages, key=numbers)
    policy = subprocess.run(
        ["apt-cache", "policy", newest], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"Candidate: (\S+)", policy)
    if found is None:
        raise ImageError(f"apt has no candidate for {newest}")
    return AptKernel(newest, found[1])


def _base(directory: Path, kernel: AptKernel) -> None:
    try:
        make_base(directory, kernel)
    except ValueError:
        # Its image is packed otherwise than the usual kernel's. QEMU boots it as it is, too.
        (packed,) = (directory / "kernel/boot").glob("vmlinuz-*")
        packed.rename(directory / "vmlinux")
        shutil.rmtree(directory / "kernel")


def image_with(release: str) -> Image:
    """The image with the newest kernel of ``release``; a minute, when it is not in the cache."""
    cache = cache_dir()
    with locked(cache / "lock"):
        kernel = _newest(release)
        base_key = digest("samples", *kernel)
        base = cached(cache, "samples-base", base_key, lambda new: _base(new, kernel))
        disk = cached(cache, "samples-disk", base_key, lambda new: make_disk(new, base))
    return Image(disk=disk / "disk.img", kernel=base / "vmlinux")
