"""The journal as a source, and the points in time that ``--since`` knows."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from oomd.replay.prefix import journal_entry
from oomd.replay.sources import Line, ReplayError

__all__ = ["journal_lines", "point_in_time"]

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(
    r"-?\s*(\d{1,9})\s*(s|min|m|h|d|w)(?:ec(?:ond)?s?|ute?s?|ours?|r|ays?|eeks?)?(?:\s+ago)?"
)


def point_in_time(text: str, now: datetime) -> datetime:
    """What ``--since`` names: a date, a time, ``today``, ``yesterday``, ``2h``, ``3 days ago``.

    ``now`` has a time zone, which a date without one is in. Raises ValueError.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return midnight - timedelta(days=word == "yesterday")
    found = _AGO.fullmatch(word)
    try:
        if word.startswith("@") and word[1:].isdecimal():
            return datetime.fromtimestamp(int(word[1:]), UTC)
        if found is not None:
            return now - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text[:60]!r}: expected a date as 2026-11-23 08:00, today, yesterday, or how long "
            "ago, as 2h or 3d"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=now.tzinfo)


def journal_lines(since: datetime | None) -> Iterator[Line]:
    """The kernel's entries of this machine's journal, and what programs wrote to its log.

    Raises ReplayError.
    """
    try:
        # A C extension, and only here.
        from systemd.journal import Reader  # noqa: PLC0415
    except ImportError:
        raise ReplayError(
            "--journal needs the Python module systemd (python3-systemd); "
            "without it: journalctl -k -o json | oomd replay -"
        ) from None
    try:
        reader = Reader()
        reader.add_match(_TRANSPORT="kernel")
        if since is not None:
            reader.seek_realtime(since)
        for number, entry in enumerate(reader, 1):
            # The library has made a UUID of it.
            boot = str(entry.get("_BOOT_ID", ""))
            yield number, journal_entry({**entry, "_TRANSPORT": "kernel", "_BOOT_ID": boot})
    except OSError as error:
        raise ReplayError(f"the journal: cannot be read: {error.strerror}") from None
