"""Who is measured: each daemon as its Debian package leaves it, and oomd as it installs itself."""

from typing import NamedTuple

__all__ = ["DAEMONS", "OURS", "Daemon"]

OURS = "oomd"


class Daemon(NamedTuple):
    """One column of the table."""

    name: str
    unit: str
    """What is started; empty: nobody."""
    package: str = ""
    """Debian's; empty: oomd itself, or nobody."""
    senders: tuple[str, ...] = ()
    """The comm of whoever of it sends signals."""
    drop_ins: tuple[tuple[str, str], ...] = ()
    """Files for systemd below /run/systemd/system, as (path, content)."""


# By default it watches nothing at all: this is what Fedora switched on.
_MANAGED = (
    ("-.slice.d/storms.conf", "[Slice]\nManagedOOMSwap=kill\n"),
    ("system.slice.d/storms.conf", "[Slice]\nManagedOOMMemoryPressure=kill\n"),
    ("user.slice.d/storms.conf", "[Slice]\nManagedOOMMemoryPressure=kill\n"),
)

DAEMONS = (
    Daemon(OURS, "oomd.service", senders=("python",)),
    Daemon("earlyoom", "earlyoom.service", "earlyoom", ("earlyoom",)),
    Daemon("none", ""),
    Daemon("systemd-oomd", "systemd-oomd.service", "systemd-oomd", ("systemd-oomd",), _MANAGED),
    Daemon("nohang", "nohang.service", "nohang", ("nohang",)),
    Daemon("Meta oomd", "oomd.service", "oomd", ("oomd",)),
)
"""In the order in which they are measured: a table that is stopped half-way compares something."""
