"""The machine with a newer kernel: one that Debian has in another suite.

The rest of it stays the same. apt keeps what it knows of that suite in the cache of images, so that
the host's own sources are as they were.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.vm.debian import KEYRING, _apt_sources
from tests.vm.disk import make_disk
from tests.vm.image import Image, build_image, cache_dir, cached, digest, locked
from tests.vm.installed import INSTALLED_FROM, installed_image, tracked_files
from tests.vm.steps import ImageError, progress, run_step

__all__ = ["SUITES", "image_of"]

SUITES = ("bookworm", "trixie", "trixie-backports")
"""The first is the one whose kernel all other tests run on."""

METAPACKAGE = "linux-image-cloud-amd64"

# What a packed kernel begins with, and what unpacks it.
_PACKED = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}


class _Packages(NamedTuple):
    """What has to be fetched, as NAME=VERSION, and what ``uname -r`` will say."""

    names: tuple[str, ...]
    release: str


# --- what apt knows


def _apt_of(suite: str, cache: Path) -> dict[str, str]:
    """The environment in which apt knows this suite and no other."""
    folder = cache / f"apt-{suite}"
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _, mirror, _, *components = _apt_sources()[0].replace(f"[signed-by={KEYRING}] ", "").split()
    source = f"deb [signed-by={KEYRING}] {mirror} {suite} {' '.join(components)}\n"
    (folder / "sources.list").write_text(source)
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}";\nDir::Cache "{folder}";\nDir::State::status "/dev/null";\n'
        f'Dir::Etc::SourceList "{folder}/sources.list";\nDir::Etc::SourceParts "-";\n'
        'Acquire::Languages "none";\n'
    )
    return os.environ | {"APT_CONFIG": str(folder / "apt.conf")}


def _show(package: str, environment: dict[str, str]) -> dict[str, str]:
    command = ["apt-cache", "show", "--no-all-versions", package]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return dict(line.split(": ", 1) for line in ran.stdout.splitlines() if ": " in line)


def _needed(fields: dict[str, str], kinds: Sequence[str], release: str) -> list[str]:
    names = (one.split("(")[0].strip() for one in fields.get("Depends", "").split(","))
    return [name for name in names if name in [f"linux-{kind}-{release}" for kind in kinds]]


def _packages(suite: str, environment: dict[str, str]) -> _Packages:
    meta = _show(METAPACKAGE, environment)
    found = re.search(r"linux-image-(\d\S*)", meta.get("Depends", ""))
    if found is None:
        raise ImageError(f"{suite} has no {METAPACKAGE}")
    release = found[1]
    image = f"linux-image-{release}"
    # From 7.x on the kernel and its modules are packages of their own.
    parts = _needed(_show(image, environment), ("binary", "modules"), release)
    names = tuple(f"{name}={meta['Version']}" for name in (image, *parts))
    return _Packages(names, release)


# --- the kernel itself


def _unpack_vmlinux(image: bytes, scratch: Path, output: Path, log: Path) -> None:
    """QEMU boots the bare ELF; see ``tests.vm.debian``. Documentation/arch/x86/boot.rst."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    # The build appends the unpacked size, which is no part of it.
    payload = image[begin : begin + length - 4]
    program = next((one for magic, one in _PACKED.items() if payload.startswith(magic)), None)
    if program is None:
        raise ImageError(f"the kernel is packed in a way that is not known: {payload[:4].hex()}")
    (scratch / "payload").write_bytes(payload)
    run_step(["sh", "-c", f"{program} -dc {scratch}/payload > {output}"], log=log)


def _make_base(new: Path, packages: _Packages, environment: dict[str, str], old: Path) -> None:
    """``root.tar`` of ``old`` with this kernel's modules as well, and its ``vmlinux``."""
    log, kernel = new / "build.log", new / "kernel"
    kernel.mkdir()
    progress(f"fetching the kernel {packages.release}")
    download = ["apt-get", "download", *packages.names]
    run_step(download, log=log, cwd=kernel, environment=environment)
    for deb in sorted(kernel.glob("*.deb")):
        run_step(["dpkg", "-x", str(deb), str(kernel)], log=log)
    if (kernel / "lib").is_dir():
        shutil.copytree(kernel / "lib", kernel / "usr/lib", dirs_exist_ok=True)
        shutil.rmtree(kernel / "lib")
    modules = f"usr/lib/modules/{packages.release}"
    (kernel / "lib").symlink_to("usr/lib")
    run_step(["/usr/sbin/depmod", "-b", str(kernel), packages.release], log=log)
    images = [*kernel.glob("boot/vmlinuz-*"), *kernel.glob(f"{modules}/vmlinuz")]
    if not images:
        raise ImageError(f"no kernel in {', '.join(packages.names)}")
    _unpack_vmlinux(images[0].read_bytes(), kernel, new / "vmlinux", log)
    shutil.copy(old / "root.tar", new / "root.tar")
    append = ["tar", "--append", "-f", "root.tar", "--owner=0", "--group=0", "-C", "kernel"]
    run_step([*append, modules], log=log, cwd=new)
    shutil.rmtree(kernel)


def _copy_of(tree: Path, copy: Path) -> str:
    """What is installed of the tree, and its digest."""
    names = [name for name in tracked_files(tree) if name.split("/")[0] in INSTALLED_FROM]
    contents = []
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        contents.append((tree / name).read_text(errors="replace"))
        shutil.copy(tree / name, copy / name)
    return digest(*names, *contents)


def image_of(suite: str, tree: Path) -> Image:
    """The machine with oomd installed from ``tree`` and the newest kernel of ``suite``."""
    if suite == SUITES[0]:
        return installed_image(tree)
    if shutil.which("zstd") is None:
        raise ImageError("zstd is not installed: apt-get install zstd")
    plain, cache = build_image(), cache_dir()
    with locked(cache / "lock"), tempfile.TemporaryDirectory(dir=cache) as scratch:
        environment = _apt_of(suite, cache)
        if not _show(METAPACKAGE, environment):
            progress(f"apt-get update of {suite}")
            log = Path(scratch) / "log"
            run_step(["apt-get", "-qq", "update"], log=log, environment=environment)
        packages = _packages(suite, environment)
        old = plain.kernel.parent
        key = digest(old.name, *packages.names, Path(__file__).read_text())

        def make_base(new: Path) -> None:
            _make_base(new, packages, environment, old)

        base = cached(cache, "kernel", key, make_base)
        copy = Path(scratch) / "tree"
        disk_key = digest(key, plain.disk.parent.name, _copy_of(tree, copy))
        disk = cached(cache, "oracle", disk_key, lambda new: make_disk(new, base, copy))
    return Image(disk=disk / "disk.img", kernel=base / "vmlinux")
