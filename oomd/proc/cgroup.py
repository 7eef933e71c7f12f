"""Where the cgroup hierarchies are mounted, names of cgroups that may be joined to them, and the
units that systemd has in them."""

from oomd.proc.root import Root, Unparsable
from oomd.typed import Final

__all__ = [
    "V1_MEMORY",
    "cgroup_of",
    "cgroup_path",
    "unit_cgroup",
    "unit_name",
    "v2_mount",
]

V1_MEMORY: Final = "sys/fs/cgroup/memory"
_V2: Final = "sys/fs/cgroup"
_HYBRID: Final = "sys/fs/cgroup/unified"

# Units that have processes, by the ends of their names (systemd.unit(5)); a slice has none.
_UNITS: Final = (".service", ".scope", ".socket", ".mount", ".swap")
# What /proc/PID/cgroup adds to the path of a control group that has been removed.
_DELETED: Final = " (deleted)"


def cgroup_path(name: str) -> str:
    """``name`` with one leading slash and no trailing one; the root cgroup is ``""``.

    Raises ``Unparsable`` for a name that would lead out of the hierarchy.
    """
    parts = [part for part in name.split("/") if part and part != "."]
    if ".." in parts or "\0" in name:
        raise Unparsable(name, "not the path of a cgroup")
    return "".join("/" + part for part in parts)


def v2_mount(root: Root) -> str | None:
    """Where cgroup v2 is: alone, beside v1 (hybrid: pressure files but no memory limits), or not.

    Probed by ``cgroup.controllers``, which only v2 has.
    """
    for mount in (_V2, _HYBRID):
        if root.exists(f"{mount}/cgroup.controllers"):
            return mount
    return None


def cgroup_of(data: bytes) -> str:
    """``/proc/PID/cgroup``: the path in systemd's own hierarchy; the root and none are ``""``.

    That is v2's, or on a v1 machine the one that is named ``systemd``.
    """
    found = b""
    for line in data.splitlines():
        hierarchy, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if controllers == b"name=systemd" or (hierarchy == b"0" and not found):
            found = path
    name = found.decode("utf-8", "surrogateescape")
    return "" if name == "/" else name


def unit_cgroup(path: str) -> str:
    """The control group of the innermost unit on a path; ``""`` if there is none, or none left.

    Of ``/user.slice/user-1.slice/user@1.service/app.slice/mail.service/inner`` all but the last
    part. What runs in the ``init.scope`` of a user's manager is that manager, ``user@1.service``.
    """
    if path.endswith(_DELETED):
        return ""
    parts = path.split("/")
    units = [n for n, part in enumerate(parts, 1) if part.endswith(_UNITS) and part not in _UNITS]
    if len(units) > 1 and parts[units[-1] - 1] == "init.scope":
        units.pop()
    return "/".join(parts[: units[-1]]) if units else ""


def unit_name(path: str) -> str:
    """The name of the innermost unit on a path, or ``""``."""
    # A name that could be one of the kernel's files has a "_" in front (cg_escape()).
    return unit_cgroup(path.removesuffix(_DELETED)).rpartition("/")[2].removeprefix("_")
