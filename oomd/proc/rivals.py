"""Other out-of-memory daemons that run here: two guards shoot at each other's victims."""

from oomd.proc.root import ReadError, Root

__all__ = ["RIVALS", "running_rivals"]

# comm is cut to 15 bytes, which all of these fit. Meta's oomd is told from ours, which is a
# Python program, by its comm.
RIVALS = {
    b"earlyoom": "earlyoom",
    b"nohang": "nohang",
    b"nohang-desktop": "nohang-desktop",
    b"systemd-oomd": "systemd-oomd",
    b"oomd": "oomd (Meta's)",
    b"bustd": "bustd",
    b"lmkd": "lmkd",
}


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
            name = RIVALS.get(root.read_record(f"proc/{pid}/comm").strip())
        except ReadError:
            continue
        if name:
            found.add(name)
    return tuple(sorted(found))
