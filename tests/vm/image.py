"""The virtual machine's image: built once for what goes into it, and kept in a cache.

    python3 -m tests.vm.image                     builds it if need be, and prints where it is
    python3 -m tests.vm.image --print-packages    the apt packages that this takes, one a line
    python3 -m tests.vm.image --print-missing     those of them that are not installed

The cache is ${OOMD_VM_CACHE}, or oomd-vm below ${XDG_CACHE_HOME} or ~/.cache.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.vm.debian import apt_kernel, make_base
from tests.vm.disk import make_disk
from tests.vm.host import REQUIRED_HOST_PACKAGES, missing_host_packages
from tests.vm.steps import ImageError, progress

__all__ = [
    "REQUIRED_HOST_PACKAGES",
    "Image",
    "ImageError",
    "build_image",
    "cache_dir",
    "cached",
    "digest",
    "locked",
    "missing_host_packages",
]

KEPT_IMAGES = 3


class Image(NamedTuple):
    """What QEMU boots. Many machines share it: none writes to it."""

    disk: Path
    kernel: Path


def cache_dir() -> Path:
    """Where built images are kept between runs."""
    if chosen := os.environ.get("OOMD_VM_CACHE"):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "oomd-vm"


def build_image() -> Image:
    """The image for the tree as it is: from the cache, or built now (a minute, told on stderr)."""
    if missing := missing_host_packages():
        raise ImageError(f"missing on this host: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        # mmdebstrap could do without; the files of a disk belong to many users, tar could not.
        raise ImageError("building the image takes root: run it with sudo")
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock"):
        kernel = apt_kernel(cache)
        base_key = digest(*kernel, _content_of("debian.py", "steps.py"))
        base = cached(cache, "base", base_key, lambda new: make_base(new, kernel))
        disk_key = digest(base_key, _content_of("disk.py", "guest"))
        disk = cached(cache, "disk", disk_key, lambda new: make_disk(new, base))
    return Image(disk=disk / "disk.img", kernel=base / "vmlinux")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One builder at a time."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that builds it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _content_of(*names: str) -> str:
    """All files of these names beside this one, and below them, by name and content."""
    here = Path(__file__).parent
    files = [path for name in names for path in (here / name, *sorted((here / name).rglob("*")))]
    return digest(
        *(
            f"{path.relative_to(here)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path in files
            if path.is_file() and "__pycache__" not in path.parts
        )
    )


def digest(*parts: str) -> str:
    """A key made of all the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def cached(cache: Path, kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder KIND-KEY of the cache. A half-made one never gets that name."""
    finished = cache / f"{kind}-{key}"
    if not finished.is_dir():
        new = Path(tempfile.mkdtemp(prefix=f"new-{kind}-", dir=cache))
        try:
            make(new)
        except BaseException:
            _keep_log(new, cache)
            shutil.rmtree(new)
            raise
        new.rename(finished)
    os.utime(finished)
    _prune(cache, kind)
    return finished


def _keep_log(failed: Path, cache: Path) -> None:
    log = failed / "build.log"
    if log.exists():
        log.replace(cache / "failed.log")
        progress(f"failed; the log is {cache / 'failed.log'}")


def _prune(cache: Path, kind: str) -> None:
    """Keeps those used last. A machine that runs keeps its disk open, so it may lose the name."""
    by_use = sorted(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    # Under the lock nobody builds: what is half-made was left by a build that was killed.
    for path in by_use[KEPT_IMAGES:] + list(cache.glob("new-*")):
        shutil.rmtree(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.vm.image", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--print-packages", action="store_true")
    parser.add_argument("--print-missing", action="store_true")
    arguments = parser.parse_args()
    if arguments.print_packages:
        print("\n".join(REQUIRED_HOST_PACKAGES))
    elif arguments.print_missing:
        print("".join(f"{package}\n" for package in missing_host_packages()), end="")
    else:
        try:
            print(build_image().disk)
        except ImageError as error:
            print(f"vm image: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
