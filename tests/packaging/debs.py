"""The .deb of the tree as it is, built once for all tests of a run."""

import atexit
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["TREE", "built_deb", "newer_deb", "run"]

TREE = Path(__file__).parents[2]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A command that has to succeed; its output is said if it does not."""
    words = [str(word) for word in command]
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@cache
def _scratch() -> Path:
    folder = tempfile.mkdtemp(prefix="oomd-debs-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


@cache
def built_deb() -> Path:
    """By packaging/deb/build; its .changes lie beside it."""
    run(TREE / "packaging/deb/build", _scratch())
    (deb,) = _scratch().glob("oomd-kernelpolicy_*_all.deb")
    return deb


def newer_deb() -> Path:
    """The same one version later: for an upgrade, without building everything again."""
    tree = _scratch() / "newer"
    run("dpkg-deb", "-R", built_deb(), tree)
    control = tree / "DEBIAN/control"
    old = re.findall(r"^Version: (.*)$", control.read_text(), re.MULTILINE)[0]
    new = f"{old}+1"
    for path in (control, tree / "usr/lib/python3/dist-packages/oomd/__init__.py"):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    deb = _scratch() / f"oomd-kernelpolicy_{new}_all.deb"
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, deb)
    return deb
