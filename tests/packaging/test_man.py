"""The man pages: complete, rendered without a warning, and their examples hold."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.commands import COMMANDS, Command
from oomd.config_load import EXIT_OK, check_config
from oomd.config_rules import _KEYS as RULE_KEYS
from oomd.notifier_options import BUILTIN, EVERY_TABLE
from oomd.settings import SETTINGS
from oomd_docs.command_lines import options_of, subcommands, with_commands
from oomd_docs.completion import NAMES
from oomd_docs.manual import PAGES, source_of, write_pages

TREE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    write_pages(folder)
    return folder


def man(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "1000"}
    command = ["man", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rendered(pages: Path, page: str) -> str:
    """As it is read, each paragraph on one line."""
    shown = man("-E", "UTF-8", "-l", "--no-hyphenation", str(pages / page))
    assert shown.returncode == 0, shown.stderr
    return re.sub(r".\x08", "", shown.stdout)


def test_there_are_the_pages_that_the_others_name() -> None:
    assert {"oomd.8", "oomd.toml.5", "oomd-notifiers.7", "oomd-replay.1"} <= set(PAGES)
    names = {page.rpartition(".")[0]: page.rpartition(".")[2] for page in PAGES}
    for page in PAGES:
        for name, section in re.findall(r"\*(oomd[\w.-]*)\*\((\d)\)", source_of(page)):
            assert names.get(name) == section, f"{page} names {name}({section})"


@pytest.mark.parametrize("page", PAGES)
def test_man_renders_it_without_a_warning(page: str, pages: Path) -> None:
    shown = man("--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(pages / page))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout) > 1000


def test_man_does_warn(tmp_path: Path) -> None:
    (tmp_path / "bad.1").write_text('.TH bad 1\n.SH NAME\nbad \\- \\[nosuch] "\n')
    shown = man("--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(tmp_path / "bad.1"))
    assert "nosuch" in shown.stderr


@pytest.mark.parametrize("page", PAGES)
def test_whatis_finds_its_name_and_what_it_is(page: str, pages: Path) -> None:
    name = page.rpartition(".")[0]
    command = ["lexgrog", str(pages / page)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f'"{name} - ' in found.stdout, found.stdout + found.stderr


def test_every_setting_is_in_oomd_toml(pages: Path) -> None:
    text = rendered(pages, "oomd.toml.5")
    for setting in SETTINGS:
        table, _, name = setting.key.rpartition(".")
        section = text.partition(f"   [{table}]\n")[2] if table else text
        assert re.search(rf"^ +{name} = ", section, re.MULTILINE), setting.key
        assert setting.help in text, setting.key


def test_every_key_of_a_rule_is_in_oomd_toml(pages: Path) -> None:
    section = rendered(pages, "oomd.toml.5").partition("\nRULES\n")[2].partition("\nNOTIFIERS\n")[0]
    assert {"comm", "never"} < set(RULE_KEYS)
    for key in RULE_KEYS:
        assert re.search(rf"^ +(?:\w+, )*{key}\b", section, re.MULTILINE), key


def test_every_notifier_is_in_oomd_toml(pages: Path) -> None:
    text = rendered(pages, "oomd.toml.5")
    for builtin in BUILTIN.values():
        section = text.partition(f"   [notifiers.{builtin.name}")[2]
        assert builtin.help in section
        for option in builtin.options:
            assert f" {option.name} = " in (text if option.name in EVERY_TABLE else section)


def page_of(words: str) -> str:
    """The page that has the options of a command line."""
    places = [page for page in PAGES if f"@options {words}@" in unfilled(page)]
    return places[0] if places else "oomd.8"


def unfilled(page: str) -> str:
    return (TREE / "packaging/oomd_docs/man" / f"{page}.scd").read_text()


def options(words: str) -> Iterator[tuple[str, str]]:
    """Each option or argument, and what --help says of it, of the command and those below it."""
    parser = with_commands()
    for word in words.split()[1:]:
        parser = subcommands(parser)[word]
    for one in (parser, *(subcommands(parser).values() if words != "oomd" else ())):
        for action in options_of(one):
            yield (action.option_strings or [str(action.metavar)])[-1], action.help or ""


@pytest.mark.parametrize("words", ["oomd", *(f"oomd {one.name}" for one in COMMANDS)])
def test_every_option_is_in_a_page(words: str, pages: Path) -> None:
    text = rendered(pages, page_of(words))
    for name, help_ in options(words):
        assert re.search(rf"^ .*{re.escape(name)}\b", text, re.MULTILINE), name
        assert help_, f"{words}: {name} has no help"
        assert help_[1:].rstrip(".").replace("%%", "%") in text, name


def test_every_command_is_in_oomd_8(pages: Path) -> None:
    text = rendered(pages, "oomd.8")
    for command in COMMANDS:
        assert re.search(rf"^ +oomd {command.name}\n +{command.help[0].upper()}", text, re.M)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_calls_itself_by_its_name(command: Command) -> None:
    assert command.load().parser().prog == f"oomd {command.name}"


def code_blocks(page: str) -> list[str]:
    return re.findall(r"^```\n(.*?)^```$", unfilled(page), re.MULTILINE | re.DOTALL)


def test_the_example_of_oomd_toml_is_valid(tmp_path: Path) -> None:
    (example,) = code_blocks("oomd.toml.5")
    (tmp_path / "example.toml").write_text(example)
    assert check_config(str(tmp_path / "example.toml"), False)[0] == EXIT_OK


def test_the_examples_of_notifiers_are_those_of_readme() -> None:
    readme = (TREE / "README.md").read_text()
    for example in code_blocks("oomd-notifiers.7"):
        assert example in readme


def test_packaging_install_takes_away_what_it_has_made(tmp_path: Path) -> None:
    def files() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    def shell(function: str) -> None:
        script = f"set -eu; ROOT={TREE}; source {TREE}/packaging/lib.sh; {function} {tmp_path}"
        subprocess.run(["bash", "-c", script], check=True, capture_output=True)

    shell("make_docs")
    pages = {f"man/man{page[-1]}/{page}.gz" for page in PAGES}
    assert pages | set(NAMES.values()) == files()
    (tmp_path / "man/man1/other.1.gz").touch()
    shell("remove_docs")
    assert files() == {"man/man1/other.1.gz"}
