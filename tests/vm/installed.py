"""The image with oomd installed from a working tree, by the project's own packaging/install."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.vm.disk import make_disk
from tests.vm.image import Image, build_image, cache_dir, cached, digest, locked
from tests.vm.steps import ImageError, progress

__all__ = ["installed_image", "tracked_files"]

# What packaging/install reads. A change of a test needs no new image.
INSTALLED_FROM = {"pyproject.toml", "LICENSE", "README.md", "oomd", "packaging", "systemd"}


def tracked_files(tree: Path) -> list[str]:
    """What Git tracks in a working tree, and what is new there and not ignored, as it is now."""
    # Root may well run the tests in another user's clone, and this only lists names.
    git = ["git", "-c", "safe.directory=*", "-C", str(tree)]
    listing = [*git, "ls-files", "-coz", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    # Tracked but deleted here: the tree as it is has no such file.
    return sorted({name for name in names if name and (tree / name).is_file()})


def installed_image(tree: Path) -> Image:
    """The image with oomd installed from a Git working tree as it is now, committed or not."""
    if os.geteuid() != 0:
        raise ImageError("installing oomd into the image takes root: run it with sudo")
    image = build_image()
    cache, base = cache_dir(), image.kernel.parent
    with locked(cache / "lock"), tempfile.TemporaryDirectory(dir=cache) as scratch:
        copy = Path(scratch) / "tree"
        names = [name for name in tracked_files(tree) if name.split("/")[0] in INSTALLED_FROM]
        for name in names:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, copy / name)
        contents = (hashlib.sha256((copy / name).read_bytes()).hexdigest() for name in names)
        key = digest(image.disk.parent.name, *names, *contents)

        def make(new: Path) -> None:
            progress("oomd itself, by packaging/install (about 30 s)")
            make_disk(new, base, copy)

        disk = cached(cache, "guarded", key, make)
    return Image(disk=disk / "disk.img", kernel=image.kernel)
