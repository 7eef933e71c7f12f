"""The linters and the type checker are tests: one command says whether the tree is sound."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent

PYTHON_TOOLS = {
    "ruff check": ["ruff", "check", "--no-fix"],
    "ruff format": ["ruff", "format", "--check", "--diff"],
    "mypy": ["mypy"],
}


def shell_scripts() -> list[Path]:
    """Every Bash script of the tree, known by its first line."""
    candidates = [
        path
        for folder in (".ci", "packaging", "tests")
        for path in sorted((TREE / folder).rglob("*"))
        if path.is_file() and path.suffix in {"", ".sh"}
    ]
    first_lines = ((path, path.read_bytes().partition(b"\n")[0]) for path in candidates)
    return [path for path, first in first_lines if b"bash" in first]


def run(command: list[str]) -> None:
    result = subprocess.run(
        command, cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("arguments", PYTHON_TOOLS.values(), ids=PYTHON_TOOLS.keys())
def test_python_tool_finds_nothing(arguments: list[str]) -> None:
    run([sys.executable, "-m", *arguments])


def test_shellcheck_finds_nothing() -> None:
    scripts = shell_scripts()
    assert TREE / "tests/run" in scripts
    shellcheck = shutil.which("shellcheck")
    assert shellcheck, "shellcheck is missing: ./tests/run installs it"
    run([shellcheck, "-x", "--source-path", str(TREE), *map(str, scripts)])
