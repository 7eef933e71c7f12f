"""The storms: what runs in each, and who may die of it."""

from typing import NamedTuple

__all__ = ["STORMS", "Storm"]

HOG = "/usr/local/bin/hog --name culprit"
LIMIT_S = 45
THRASH_LIMIT_S = 60
DISK = "/dev/nvme1n1"
ZRAM_MIB = 300
# Of all the kernel's policy names the largest; without it the others have room.
LEAKERS = (f"{HOG} --hold --mib 100 --rate 12", *7 * (f"{HOG} --hold --mib 30 --rate 3",))


class Storm(NamedTuple):
    """One row of the table."""

    name: str
    title: str
    commands: tuple[str, ...]
    """Each is a unit of its own. ``{fill}``: what is available, in MiB, less ``leave_mib``."""
    culprits: frozenset[str] = frozenset({"culprit"})
    """The comm of each process that may be killed; empty: nobody has to die."""
    swap_mib: int = 0
    leave_mib: int = 0
    limit_s: int = LIMIT_S
    stalls_s: tuple[float, ...] = ()
    """The whole guest stands still for so long, each 3 s after the last."""
    disk: bool = False
    """It takes a disk of its own, as slow as a cloud's."""
    recovers: bool = True
    """After a run the machine is as it was; otherwise each run takes a boot."""

    @property
    def needs_a_kill(self) -> bool:
        return bool(self.culprits)


NOBODY: frozenset[str] = frozenset()

STORMS = (
    Storm("leak-slow", "leak, 25 MiB/s", (f"{HOG} --forever --rate 25",)),
    Storm("leak-fast", "leak, as fast as it can", (f"{HOG} --forever",)),
    Storm(
        "zram-slow",
        "leak into zram, 50 MiB/s",
        (f"{HOG} --forever --rate 50",),
        swap_mib=ZRAM_MIB,
    ),
    Storm("zram-fast", "leak into zram, fast", (f"{HOG} --forever",), swap_mib=ZRAM_MIB),
    Storm(
        "file-thrash",
        "file thrash, 40 MB left",
        (f"{HOG} --hold --mib {{fill}}", f"/run/storms/vice walk {DISK}"),
        leave_mib=40,
        limit_s=THRASH_LIMIT_S,
        disk=True,
    ),
    Storm(
        "leakers",
        "8 leakers, one of them larger",
        LEAKERS,
    ),
    Storm(
        "fork-bomb",
        "fork bomb, 6 MB a child",
        ("/run/storms/vice bomb 80 6 60",),
        culprits=frozenset({"bomb"}),
    ),
    Storm("shmem", "leak of shared memory", (f"{HOG} --shmem --forever --rate 50",)),
    Storm(
        "tmpfs",
        "leak into tmpfs",
        ("/run/storms/vice tmpfs /mnt/leak 50",),
        culprits=frozenset({"tmpfs"}),
        limit_s=30,
        recovers=False,
    ),
    Storm(
        "userns",
        "leak in a user namespace",
        (f"{HOG} --uid 1000 --userns --forever --rate 50",),
    ),
    Storm(
        "exited-leader",
        "leak behind an exited leader",
        (f"{HOG} --exit-leader --forever --rate 50",),
    ),
    Storm("page-tables", "page tables", (f"{HOG} --pgtables --forever --rate 25",)),
    Storm(
        "burst",
        "burst that ends by itself, 35 MB left",
        ("/usr/bin/timeout 6 /usr/local/bin/hog --name burst --hold --mib {fill}",),
        culprits=NOBODY,
        leave_mib=35,
        limit_s=15,
    ),
    Storm(
        "burst-zram",
        "burst that fits into zram",
        ("/usr/bin/timeout 15 /usr/local/bin/hog --name burst --hold --mib {fill}",),
        culprits=NOBODY,
        swap_mib=ZRAM_MIB,
        leave_mib=-150,
        limit_s=25,
    ),
    Storm(
        "stall",
        "the guest stands still, 60 MB left",
        (f"{HOG} --hold --mib {{fill}}",),
        culprits=NOBODY,
        leave_mib=60,
        limit_s=15,
        stalls_s=(3, 5),
    ),
)
