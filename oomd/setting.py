"""What a setting is: its key, default, bounds, and what it means to an admin."""

from oomd.typed import NamedTuple

__all__ = ["Setting", "SettingValue"]

SettingValue = bool | int | float | str

_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


class Setting(NamedTuple):
    """One setting: the config check, the sample file and the man page are made from this."""

    key: str
    """Dotted: ``table.name``."""
    default: SettingValue
    help: str
    """One sentence for an admin."""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    off: float | None = None
    """A number outside the range that switches it off."""
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``boolean``, ``integer``, ``number``, ``choice`` or ``string``."""
        if self.choices:
            return "choice"
        return _KINDS[type(self.default)]
