"""The strict check of what was configured, and its way into the sentinel.

The sentinel imports this: no tomllib, no json, nothing that reads a file. Reading the TOML is
:mod:`oomd.config_load`, which runs in a short-lived helper and hands its result over in the plain
``key=value`` lines of :func:`to_lines`.
"""

from oomd.config_words import DEFAULT, ConfigError, Origin, kind_of, one_line, shown, toml_value
from oomd.settings import SETTINGS, NotifierSettings, Setting, Settings, SettingValue, value_of
from oomd.typed import Any, Callable, Mapping, NamedTuple

__all__ = [
    "DEFAULT",
    "PLAN",
    "PLAN_BYTES",
    "RULES",
    "SETTINGS",
    "ConfigError",
    "Configured",
    "Origin",
    "Setting",
    "bare_plan",
    "check_keys",
    "configured",
    "expected_value",
    "from_lines",
    "is_cgroup",
    "kind_of",
    "one_line",
    "settings_from_mapping",
    "shown",
    "to_lines",
    "toml_value",
    "typed",
    "value_of",
]


class Configured(NamedTuple):
    """The settings in force, and where they come from."""

    settings: Settings
    origins: Mapping[str, Origin]
    """By key. A key that is not in it has its default."""
    files: tuple[str, ...] = ()
    """What was read, in order: the later one wins."""
    tables: Mapping[str, Any] = {}
    """The notifiers' own tables, by name: :class:`oomd.config_notifiers.Table`."""
    rules: tuple[Any, ...] = ()
    """The admin's rules, the first that counts first: :class:`oomd.config_rules.GivenRule`."""


def expected_value(setting: Setting) -> str:
    """What a good value looks like, for an error."""
    match setting.kind:
        case "boolean":
            return "true or false"
        case "choice":
            return f"one of {', '.join(toml_value(choice) for choice in setting.choices)}"
        case "string":
            return "a string"
    article = "an" if setting.kind == "integer" else "a"
    unit = f" {setting.unit}" if setting.unit else ""
    off = "" if setting.off is None else f", or {setting.off:g} for off"
    return f"{article} {setting.kind} from {setting.minimum:g} to {setting.maximum:.8g}{unit}{off}"


def is_cgroup(path: str) -> bool:
    """A path below the controller's mount; empty is none at all, which is good too."""
    first, *parts = path.split("/")
    return first == "" and path.isprintable() and not {"", ".", ".."}.intersection(parts)


def is_group(name: str) -> bool:
    """A name or number as groups have it; empty is none at all, which is good too."""
    return len(name) <= 64 and name.isascii() and name.isprintable() and not {*" :,"} & {*name}


def typed(setting: Setting, value: object, origin: Origin) -> SettingValue:
    """The value as its setting has it, or ConfigError."""

    def wrong(problem: str, expected: str = "") -> ConfigError:
        return ConfigError(*origin, setting.key, problem, expected or expected_value(setting))

    if setting.kind == "number" and type(value) is int and abs(value) < 2**63:
        value = float(value)
    if not isinstance(value, SettingValue):
        raise wrong(f"is {kind_of(value)}")
    if type(value) is not type(setting.default):
        raise wrong(f"{shown(value)} is {kind_of(value)}")
    if setting.kind == "choice" and value not in setting.choices:
        raise wrong(f"{shown(value)} is not known")
    if setting.key == "watch.cgroup" and not is_cgroup(str(value)):
        example = 'a path such as "/system.slice/db.service", or ""'
        raise wrong(f"{shown(value)} is not the path of a cgroup", example)
    if setting.key == "control.group" and not is_group(str(value)):
        raise wrong(f"{shown(value)} is not the name of a group", 'one such as "oomd", or ""')
    if setting.minimum is None or setting.maximum is None or isinstance(value, str):
        return value
    # Written so that a NaN, which compares false with everything, is out of range.
    if not (setting.minimum <= value <= setting.maximum or value == setting.off):
        raise wrong(f"{shown(value)} is out of range")
    return value


# Not a key of any file: see NotifierSettings.plan.
PLAN = "notifiers.plan"
PLAN_BYTES = 256 * 1024

# Nor is this: a key of files is [[rules]], see Settings.rules.
RULES = "rules"

_BY_KEY: dict[str, Setting] = {setting.key: setting for setting in SETTINGS}


def _names_in(table: str) -> tuple[str, ...]:
    """The names in a table; at the top (empty), the tables themselves too."""
    if table:
        return tuple(key[len(table) + 1 :] for key in _BY_KEY if key.startswith(f"{table}."))
    return tuple(dict.fromkeys(key.partition(".")[0] for key in (*_BY_KEY, RULES)))


def _unknown(table: str, name: str, origin: Origin) -> ConfigError:
    # Imported here: only the wording of an error needs it, and the sentinel keeps what it loads.
    from difflib import get_close_matches  # noqa: PLC0415

    prefix = f"{table}." if table else ""
    names = _names_in(table)
    # A key in the wrong table, or in none, is known by its name.
    elsewhere = [key for key in _BY_KEY if key.rpartition(".")[2] == name]
    close = elsewhere[:1] or [prefix + near for near in get_close_matches(name[:60], names, 1)]
    hint = f", did you mean {close[0]}?" if close else ""
    short = name if len(name) <= 60 else name[:57] + "..."
    return ConfigError(*origin, prefix + short, f"unknown key{hint}", f"one of {', '.join(names)}")


def check_keys(
    mapping: Mapping[str, object], locate: Callable[[str], Origin]
) -> dict[str, SettingValue]:
    """The values of one file by dotted key, each of them checked by itself.

    ``locate`` says where a dotted key stands. Raises ConfigError.
    """
    values: dict[str, SettingValue] = {}
    for name, content in mapping.items():
        if name in _BY_KEY and "." not in name:
            values[name] = typed(_BY_KEY[name], content, locate(name))
        elif name not in _names_in(""):
            raise _unknown("", name, locate(name))
        elif not isinstance(content, Mapping):
            raise ConfigError(*locate(name), name, f"is {kind_of(content)}", f"a table, [{name}]")
        else:
            for inner, value in content.items():
                key = f"{name}.{inner}"
                # A quoted name may have a dot of its own, but no setting's has.
                if key not in _BY_KEY:
                    raise _unknown(name, inner, locate(key))
                values[key] = typed(_BY_KEY[key], value, locate(key))
    return values


def _check_together(settings: Settings, origins: Mapping[str, Origin]) -> None:
    """ConfigError for values that are each possible and contradict each other."""

    def blame(keys: tuple[str, str], problem: str, expected: str) -> ConfigError:
        # Defaults agree with each other, so one of the two was set; the first if it was.
        key = keys[0] if keys[0] in origins else keys[1]
        return ConfigError(*origins.get(key, DEFAULT), key, problem, expected)

    window_ms, tripwire_ms = settings.stall.window_ms, settings.watch.tripwire_ms
    if tripwire_ms > window_ms:
        raise blame(
            ("watch.tripwire_ms", "stall.window_ms"),
            f"a tripwire of {tripwire_ms} ms does not fit into a window of {window_ms} ms",
            "watch.tripwire_ms to be at most stall.window_ms",
        )
    full_ms = window_ms * settings.stall.full_percent / 100
    if 0 < full_ms < tripwire_ms:
        raise blame(
            ("watch.tripwire_ms", "stall.full_percent"),
            f"the daemon would wake up after {tripwire_ms} ms, too late for a stall of"
            f" {full_ms:g} ms",
            "watch.tripwire_ms to be at most stall.full_percent of stall.window_ms",
        )
    one_ms, all_ms = settings.notifiers.deadline_ms, settings.notifiers.chain_deadline_ms
    if one_ms > all_ms:
        raise blame(
            ("notifiers.deadline_ms", "notifiers.chain_deadline_ms"),
            f"one notifier would get {one_ms} ms, all of them together {all_ms} ms",
            "notifiers.deadline_ms to be at most notifiers.chain_deadline_ms",
        )


def configured(
    values: Mapping[str, SettingValue],
    origins: Mapping[str, Origin],
    files: tuple[str, ...] = (),
) -> Configured:
    """The settings in force, from checked values by dotted key. Raises ConfigError."""
    settings = Settings()
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        change: dict[str, Any] = {name: value}
        if table:
            change = {table: getattr(settings, table)._replace(**change)}
        settings = settings._replace(**change)
    _check_together(settings, origins)
    return Configured(settings, origins, files)


def settings_from_mapping(mapping: Mapping[str, object], source: str = "config") -> Settings:
    """The settings of one parsed TOML document. Raises ConfigError, naming ``source``."""
    origin = Origin(source)
    values = check_keys(mapping, lambda key: origin)
    return configured(values, dict.fromkeys(values, origin)).settings


def to_lines(settings: Settings) -> str:
    """Every setting as a line ``key=value``, for :func:`from_lines` in another process.

    The worker's plan and the admin's rules are two more.
    """
    return "".join(
        f"{key}={value if isinstance(value, str) else toml_value(value)}\n"
        for key, value in ((key, value_of(settings, key)) for key in (*_BY_KEY, *_MADE))
    )


def _from_text(setting: Setting, text: str) -> object:
    """Undo :func:`to_lines` for one value. What does not parse stays text, of the wrong type."""
    if setting.kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if setting.kind in ("integer", "number"):
        try:
            return int(text) if setting.kind == "integer" else float(text)
        except ValueError:
            return text
    return text


def bare_plan(settings: NotifierSettings) -> str:
    """The worker's plan with nothing in it but the settings, for those who register themselves."""
    # By hand, as toml_value() of these is JSON too: the sentinel has no use for json's encoder.
    scalars = {name: getattr(settings, name) for name in settings._fields if name != "plan"}
    words = [f'"{name}":{toml_value(value)}' for name, value in scalars.items()]
    return f"{{{','.join(words)}}}"


def _plan(text: str, origin: Origin) -> str:
    """The worker's plan: nobody here looks into it, and nobody here is made to hold any amount."""
    if len(text) > PLAN_BYTES or not (text.isascii() and text.isprintable()):
        raise ConfigError(*origin, PLAN, "is no plan", f"ASCII, at most {PLAN_BYTES // 1024} KiB")
    return text


def _rules(text: str, origin: Origin) -> str:
    """The admin's rules, which are read when they are put into force."""
    if text:
        # Imported here: the sentinel loads nothing of them without a rule.
        from oomd.rules.rule import BadRules, parse_rules  # noqa: PLC0415

        try:
            parse_rules(text)
        except BadRules as error:
            raise ConfigError(*origin, RULES, str(error)) from None
    return text


_MADE: dict[str, Callable[[str, Origin], str]] = {PLAN: _plan, RULES: _rules}


def from_lines(text: str, source: str = "settings") -> Settings:
    """The settings that :func:`to_lines` wrote: every key once, and the last line ended.

    Raises ConfigError, naming ``source``: what was cut short must not pass for settings.
    """
    *lines, rest = text.split("\n")
    if rest:
        raise ConfigError(source, len(lines) + 1, "", "the last line is cut short")
    values: dict[str, SettingValue] = {}
    for number, line in enumerate(lines, 1):
        origin = Origin(source, number)
        key, equals, value = line.partition("=")
        if not equals or (key not in _BY_KEY and key not in _MADE):
            problem = "unknown key" if equals else "no key=value"
            # A package upgrade leaves an old daemon with new helpers until it is restarted.
            raise ConfigError(*origin, key[:60], problem, "oomd of one version: restart it")
        if key in values:
            raise ConfigError(*origin, key, "is there twice")
        if key in _MADE:
            values[key] = _MADE[key](value, origin)
        else:
            values[key] = typed(_BY_KEY[key], _from_text(_BY_KEY[key], value), origin)
    missing = [key for key in (*_BY_KEY, *_MADE) if key not in values]
    if missing:
        raise ConfigError(source, None, missing[0], "is missing", "every setting")
    return configured(values, dict.fromkeys(values, Origin(source))).settings
