"""What the shells offer, asked of the shells themselves."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.commands import COMMANDS
from oomd_docs.command_lines import options_of, subcommands, with_commands
from oomd_docs.completion import NAMES, write_completion

Ask = Callable[[Path, str, Path], set[str]]
Asked = Callable[[Ask, str], set[str]]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    write_completion(folder)
    return {shell: folder / name for shell, name in NAMES.items()}


@pytest.fixture
def asked(scripts: dict[str, Path], tmp_path: Path) -> Asked:
    """Asks a shell, in a folder with one file."""
    (tmp_path / "a.toml").touch()
    return lambda ask, line: ask(scripts[ask.__name__], line, tmp_path)


def run(command: list[str], home: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def bash(script: Path, line: str, home: Path) -> set[str]:
    """What bash offers behind ``line``."""
    words = line.split(" ")
    program = (
        f"source {script}; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); "
        f"COMP_CWORD={len(words) - 1}; _oomd; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return set(run(["bash", "--norc", "-c", program], home).split("\n")) - {""}


def fish(script: Path, line: str, home: Path) -> set[str]:
    program = f"source {script}; complete -C '{line}'"
    lines = run(["fish", "--no-config", "-c", program], home).splitlines()
    return {one.partition("\t")[0] for one in lines}


def zsh(script: Path, line: str, home: Path) -> set[str]:
    program = Path(__file__).with_name("offers.zsh")
    return set(run(["zsh", "-f", str(program), str(script.parent), line], home).splitlines())


# (a command line so far, what is offered among others, what is not)
CASES = [
    ("oomd --dry", {"--dry-run"}, {"--version"}),
    ("oomd --policy ", {"el7", "mainline", "auto"}, {"replay"}),
    ("oomd re", {"replay"}, {"notifiers"}),
    ("oomd replay --s", {"--since"}, {"--show"}),
    ("oomd replay --policy ", {"el7", "mainline"}, {"auto"}),
    ("oomd notifiers ", {"list", "check", "run"}, {"replay"}),
    ("oomd notifiers run --m", {"--mib"}, {"--memcg", "--manual"}),
    ("oomd --config a", {"a.toml"}, {"audit"}),
]


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
@pytest.mark.parametrize("ask", [bash, zsh, fish])
def test_a_shell_offers(
    ask: Ask, line: str, offered: set[str], not_offered: set[str], asked: Asked
) -> None:
    found = asked(ask, line)
    assert offered <= found
    assert not not_offered & found


@pytest.mark.parametrize("shell", NAMES)
def test_every_option_and_command_is_known(shell: str, scripts: dict[str, Path]) -> None:
    text = scripts[shell].read_text()
    parsers = [with_commands()]
    for parser in parsers:
        parsers += subcommands(parser).values()
        for action in options_of(parser):
            for name in action.option_strings:
                assert (name[2:] if shell == "fish" else name) in text
    assert all(command.name in text for command in COMMANDS)
    assert len(parsers) > len(COMMANDS)
