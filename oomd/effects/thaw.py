"""A victim that a cgroup freezer holds cannot die of SIGKILL until it is thawed.

That is so of the cgroup v1 freezer. A task frozen by cgroup v2 (``cgroup.freeze``) wakes for
SIGKILL, so there is nothing to do.
"""

from oomd.proc.root import ReadError, WritableRoot

__all__ = ["freezer_path", "thaw"]

_MOUNT = "sys/fs/cgroup/freezer"


def freezer_path(cgroup: bytes) -> str:
    """The v1 freezer cgroup in the text of ``/proc/PID/cgroup``; "" for the root or none.

    cgroup_freezer(7)'s root cannot be frozen. A path outside our cgroup namespace begins
    with ``/..`` and cannot be reached.
    """
    for line in cgroup.splitlines():
        _, _, rest = line.partition(b":")
        controllers, _, path = rest.partition(b":")
        if b"freezer" in controllers.split(b","):
            name = path.decode("utf-8", "surrogateescape").strip("/")
            return "" if ".." in name.split("/") else name
    return ""


def thaw(root: WritableRoot, pid: int) -> str:
    """Write THAWED to the v1 freezer cgroup that holds this process frozen, if one does.

    Only after SIGKILL: ``/proc/PID/cgroup`` takes a global lock before Linux 6.8. Returns
    what was done, or could not be, in words; "" when the process was not frozen.
    """
    try:
        path = freezer_path(root.read(f"proc/{pid}/cgroup"))
    except ReadError:
        return ""
    done = []
    # A frozen ancestor freezes all below it, and only it can end that: the one whose own
    # state was set says so in freezer.self_freezing (legacy_freezer.c).
    while path:
        try:
            if root.read(f"{_MOUNT}/{path}/freezer.self_freezing").strip() == b"1":
                # Unlike the kernel: mainline thaws the victim alone, this file all of the cgroup.
                root.write(f"{_MOUNT}/{path}/freezer.state", b"THAWED\n")
                done.append(f"thawed freezer cgroup /{path}")
        except ReadError as error:
            return f"freezer cgroup /{path} could not be thawed: {error}"
        path = path.rpartition("/")[0]
    return ", ".join(done)
