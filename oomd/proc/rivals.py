"""Other out-of-memory daemons that run here: two guards shoot at each other's victims."""

import os

from oomd.proc.root import ReadError, Root

__all__ = ["RIVALS", "running_rivals"]

# By comm, which is cut to 15 bytes: all of these fit.
RIVALS = {
    b"earlyoom": "earlyoom",
    b"nohang": "nohang",
    b"nohang-desktop": "nohang-desktop",
    b"systemd-oomd": "systemd-oomd",
    b"oomd": "oomd (Meta's)",
    b"bustd": "bustd",
    b"lmkd": "lmkd",
}


def _is_python(root: Root, pid: int) -> bool:
    # Our own command has Meta's name, and is a Python program. Not observable: taken for ours.
    try:
        return os.path.basename(root.readlink(f"proc/{pid}/exe")).startswith("python")
    except ReadError:
        return True


def running_rivals(root: Root, own_pid: int = 0) -> tuple[str, ...]:
    """Names of those that run, by their comm; ``own_pid`` is not counted. Raises nothing."""
    found = set()
    try:
        pids = root.pids()
    except ReadError:
        return ()
    for pid in pids:
        if pid == own_pid:
            continue
        try:
            comm = root.read_record(f"proc/{pid}/comm").strip()
        except ReadError:
            continue
        if comm in RIVALS and not (comm == b"oomd" and _is_python(root, pid)):
            found.add(RIVALS[comm])
    return tuple(sorted(found))
