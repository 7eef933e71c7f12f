"""Where the cgroup hierarchies are mounted, and names of cgroups that may be joined to them."""

from typing import Final

from oomd.proc.root import Root, Unparsable

__all__ = ["V1_MEMORY", "cgroup_path", "v2_mount"]

V1_MEMORY: Final = "sys/fs/cgroup/memory"
_V2: Final = "sys/fs/cgroup"
_HYBRID: Final = "sys/fs/cgroup/unified"


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
