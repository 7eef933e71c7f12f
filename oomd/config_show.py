"""The settings as a person reads them: ``--check-config``, ``--show``, and the installed sample."""

import textwrap
from collections.abc import Iterator

from oomd.config import DEFAULT, SETTINGS, Configured, Setting, one_line, toml_value, value_of
from oomd.config_notifiers import Table
from oomd.config_plan import listed
from oomd.config_rules import shown_rule
from oomd.notifier_options import BUILTIN, COMMAND, EVERY_TABLE, Builtin, Option, builtin_named

__all__ = ["bounds", "notifier_lines", "sample", "setting_lines"]


def _wrapped(text: str, indent: str) -> str:
    filled = textwrap.fill(
        text, 96, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return filled.replace("\xa0", " ")


def bounds(setting: Setting | Option) -> str:
    """What an admin may write, in brackets behind the help."""
    if setting.choices:
        text = ", ".join(setting.choices)
    elif setting.minimum is not None:
        text = f"{setting.minimum:g} to {setting.maximum:.8g} {setting.unit}".rstrip()
    else:
        return ""
    # No-break spaces: what is broken over two lines is easily misread.
    return f" [{text}]".replace(" ", "\xa0").replace("\xa0", " ", 1)


# --- --show


def _line(key: str, value: str, unit: str, origin: str, help_: str) -> str:
    unit = f" {unit}" if unit else ""
    line = f"{key} = {value}{unit}  ({one_line(origin)})"
    return f"{line}\n{_wrapped(help_, '    ')}" if help_ else line


def _table_lines(name: str, table: Table) -> Iterator[str]:
    """A notifier's table, a built-in's with its defaults."""
    builtin = builtin_named(name)
    for option in builtin.options if builtin is not None else ():
        given = table.given.get(option.name)
        origin = given.origin if given is not None else DEFAULT
        value, key = toml_value(table.get(option)), f"notifiers.{name}.{option.name}"
        yield _line(key, value, option.unit, str(origin), option.help)
    for key, given in table.given.items() if builtin is None else ():
        # A plugin's own keys may hold anything.
        shown = one_line(f"notifiers.{name}.{key}")
        yield _line(shown, toml_value(given.value), "", str(given.origin), "")


def setting_lines(found: Configured) -> Iterator[str]:
    """Every setting in force and every notifier's table: value, where it is set, what it means."""
    for setting in SETTINGS:
        value = toml_value(value_of(found.settings, setting.key))
        origin = str(found.origins.get(setting.key, DEFAULT))
        yield _line(setting.key, value, setting.unit, origin, setting.help)
    for name, table in found.tables.items():
        yield from _table_lines(name, table)
    for given in found.rules:
        yield _line(
            f"rule {toml_value(given.rule.name)}", shown_rule(given), "", str(given.origin), ""
        )


# --- the notifiers


def notifier_lines(plan: str) -> Iterator[str]:
    """What the worker's plan holds, in the order in which it is called; nothing for none."""
    notifiers = listed(plan)
    if notifiers:
        yield "notifiers, the highest priority first:"
    width = max((len(one_line(one.name)) for one in notifiers), default=0)
    for one in notifiers:
        priority = "its own priority" if one.priority is None else f"priority {one.priority}"
        words = f"{priority}, {one.deadline_ms} ms, {one_line(one.source)}"
        yield f"  {one_line(one.name):{width}}  {words}"


# --- the sample

_RULES = """
# Rules on top of the kernel's: whom to prefer, whom to avoid, whom never to kill. The first that
# matches a process counts; in each, all of comm, cgroup, unit, uid and user that are there have
# to match: a pattern (* ? [a-z]), a number, "1000-1999", or an array of such.
#
#   prefer = 0 to 1000   makes it look worse by so many thousandths of all memory
#   avoid = 1 to 1000    makes it look better by as much
#   never = true         it is not killed; if nobody else is left, see panic.none_killable
#
#[[rules]]
#name = "the database"
#unit = "postgresql@*.service"
#never = true
#
#[[rules]]
#name = "builds first"
#comm = ["cc1*", "ld", "rustc"]
#uid = "1000-60000"
#prefer = 300
""".strip().split("\n")

_TABLES = """
# The notifiers: who is asked to give memory back before anyone dies. Each has a table of its own,
# and is registered when its table is there. In every table:
#
#   enabled = true   registers it; false keeps the table and does without the notifier
#   priority = 0     the highest is called first, -1000 to 1000
#   deadline_ms = 0  how long it may take, 1 to 10000 ms; 0 is notifiers.deadline_ms
#
# To switch one of these on, take away the # of its [table], too. A plugin's options stand in
# [notifiers.NAME], NAME being what it registers as.
""".strip().split("\n")


def _sample_table(builtin: Builtin) -> Iterator[str]:
    name = f"{COMMAND}.NAME" if builtin.name == COMMAND else builtin.name
    yield from ("", _wrapped(builtin.help, "# "), f"#[notifiers.{name}]")
    for option in builtin.options:
        value = f"#{option.name} = {toml_value(option.default)}"
        if option.name in EVERY_TABLE:
            yield value
        else:
            needed = " It has to be set." if option.required else ""
            yield from ("", _wrapped(option.help + bounds(option) + needed, "# "), value)


def sample() -> str:
    """The config file that is installed: every key with its default, commented out."""
    lines = [
        "# oomd's settings. Each is shown with its default; take away the # to change one.",
        "# `oomd --check-config` checks this file, `systemctl reload oomd` puts it into force.",
        "# Files in oomd.toml.d/ beside it are read after it, sorted by name.",
    ]
    table = ""
    for setting in SETTINGS:
        this, _, name = setting.key.rpartition(".")
        if this != table:
            lines += ["", f"[{this}]"]
            table = this
        lines += ["", _wrapped(setting.help + bounds(setting), "# ")]
        lines += [f"#{name} = {toml_value(setting.default)}"]
    lines += ["", *_RULES]
    # At the end: a key that is taken out of its comment without its table is in [control] then,
    # and none of them is a key there.
    lines += ["", *_TABLES]
    for builtin in BUILTIN.values():
        lines += _sample_table(builtin)
    return "\n".join(lines) + "\n"
