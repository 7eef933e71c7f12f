"""What the shells complete, for each from the same arguments.

By hand: the generators that a distribution packages know no fish, and Debian 12's shtab offers
bash only the first of several choices.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from oomd_docs.command_lines import help_of, meaning_of, options_of, subcommands, with_commands

__all__ = ["NAMES", "complete", "write_completion"]

# By the name that stands for the value in the help.
_FILES = frozenset({"FILE", "PATH", "DIR"})


class _Level(NamedTuple):
    """What may stand behind some words: ``oomd``, ``oomd notifiers`` and so on."""

    words: tuple[str, ...]
    options: tuple[argparse.Action, ...]
    """Those that have a name."""
    takes_files: bool
    """As arguments without a name."""
    commands: tuple[tuple[str, str], ...]
    """A word that leads on, and what it does."""


def _levels(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[_Level]:
    arguments, children = options_of(parser), subcommands(parser)
    yield _Level(
        words,
        tuple(one for one in arguments if one.option_strings),
        any(one.metavar in _FILES for one in arguments if not one.option_strings),
        tuple((name, help_of(parser, name)) for name in children),
    )
    for name, child in children.items():
        yield from _levels((*words, name), child)


def _choices(option: argparse.Action) -> str:
    return " ".join(map(str, option.choices or ()))


def _quoted(text: str) -> str:
    """As bash and zsh have it."""
    return "'" + text.replace("'", "'\\''") + "'"


# --- bash ---

_BASH = """\
# bash completion for oomd(8)
_oomd() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local path=oomd files='' words='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path ${{COMP_WORDS[i]}}" in
        {paths}) path+=" ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$path $before" in
{values}
    *)
        case $path in
{arguments}
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    if [[ $files && $word != -* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen -f -- "$word")
    fi
}}
complete -F _oomd oomd
"""


def _bash_values(level: _Level) -> Iterator[str]:
    for option in level.options:
        if option.nargs != 0:
            names = " | ".join(f'"{" ".join(level.words)} {one}"' for one in option.option_strings)
            files = "files=yes" if option.metavar in _FILES else f"words='{_choices(option)}'"
            yield f"    {names}) {files} ;;"


def _bash(levels: Iterable[_Level]) -> str:
    paths: list[str] = []
    values: list[str] = []
    arguments: list[str] = []
    for level in levels:
        path = " ".join(level.words)
        paths += [f'"{path} {name}"' for name, _ in level.commands]
        values += _bash_values(level)
        words = [name for option in level.options for name in option.option_strings]
        words += ["--help", *(name for name, _ in level.commands)]
        files = " files=yes" if level.takes_files else ""
        arguments.append(f"        \"{path}\") words='{' '.join(words)}'{files} ;;")
    return _BASH.format(
        paths=" | ".join(paths), values="\n".join(values), arguments="\n".join(arguments)
    )


# --- zsh ---


def _zsh_option(option: argparse.Action) -> Iterator[str]:
    # In a specification a bracket would end the help, and a colon the word before it.
    help_ = meaning_of(option).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    value = "_files" if option.metavar in _FILES else f"({_choices(option)})"
    follows = "" if option.nargs == 0 else f":{str(option.metavar or option.dest).lower()}:{value}"
    if option.nargs == "?":
        follows = f":{follows}"
    for name in option.option_strings:
        yield _quoted(f"{name}[{help_}]{follows}")


def _zsh_function(level: _Level) -> str:
    specs = [spec for option in level.options for spec in _zsh_option(option)]
    name = "_".join(("", *level.words))
    lines = [f"{name}() {{", "  local curcontext=$curcontext state line", "  typeset -A opt_args"]
    specs.append("'--help[show what there is]'")
    if level.commands:
        specs += ["'1: :->command'", "'*:: :->rest'"]
    elif level.takes_files:
        specs.append("'*:file:_files'")
    # The options of a command are not those of what is behind it.
    behind = " -A '-*'" if level.commands else ""
    lines += [
        f"  _arguments -C{behind} \\",
        *(f"    {spec} \\" for spec in specs[:-1]),
        f"    {specs[-1]}",
    ]
    if level.commands:
        described = [_quoted(f"{word}:{help_}") for word, help_ in level.commands]
        cases = [f"    {word}) {name}_{word} ;;" for word, _ in level.commands]
        lines += [
            "  case $state in",
            f"  command) local -a commands=({' '.join(described)})",
            "    _describe command commands ;;",
            "  rest) case $words[1] in",
            *cases,
            "    esac ;;",
            "  esac",
        ]
    return "\n".join([*lines, "}"])


def _zsh(levels: Iterable[_Level]) -> str:
    functions = [_zsh_function(level) for level in levels]
    return "\n\n".join(["#compdef oomd", *functions, '_oomd "$@"']) + "\n"


# --- fish ---


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(option: argparse.Action) -> str:
    """What follows an option: -x takes no files."""
    if option.nargs == 0:
        return ""
    if option.metavar in _FILES:
        return " -r -F"
    words = _choices(option)
    return f" -x -a {_fish_quoted(words)}" if words else " -x"


def _fish_condition(level: _Level) -> str:
    """When a line is for this level: its words are there, those below it are not."""
    _, *words = level.words
    tests = [f"__fish_seen_subcommand_from {word}" for word in words]
    if level.commands:
        below = " ".join(name for name, _ in level.commands)
        tests.append(f"not __fish_seen_subcommand_from {below}")
    return "; and ".join(tests)


def _fish_level(level: _Level) -> Iterator[str]:
    head = f"complete -c oomd -n {_fish_quoted(_fish_condition(level))}"
    for option in level.options:
        for name in option.option_strings:
            kind = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            yield f"{head} {kind}{_fish_value(option)} -d {_fish_quoted(meaning_of(option))}"
    if level.takes_files:
        yield f"{head} -F"
    for name, help_ in level.commands:
        yield f"{head} -a {name} -d {_fish_quoted(help_)}"


def _fish(levels: Iterable[_Level]) -> str:
    lines = [line for level in levels for line in _fish_level(level)]
    return "\n".join(("complete -c oomd -f", *lines)) + "\n"


# --- all of them ---

_MAKERS: dict[str, Callable[[Iterable[_Level]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

# Each where its shell looks for it, below share/.
NAMES = {
    "bash": "bash-completion/completions/oomd",
    "zsh": "zsh/site-functions/_oomd",
    "fish": "fish/vendor_completions.d/oomd.fish",
}


def complete(shell: str) -> str:
    """The script for "bash", "zsh" or "fish"."""
    return _MAKERS[shell](list(_levels(("oomd",), with_commands())))


def write_completion(folder: Path) -> None:
    """The scripts of all shells, below ``folder`` as below /usr/share."""
    for shell, name in NAMES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(complete(shell))
