"""How each sample is made: real OOMs of a virtual machine, one of each kind.

No hog here is guarded by oomd, but for the one scene that wants its lines.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from tests.vm.machine import Machine

__all__ = ["FORMS", "SCENES", "Scene"]

# Emulated, and with others on the same cores: an upper bound.
PATIENCE_S = 300.0
FORMS = "memcg"
"""The scene whose log is kept in all forms that dmesg and journalctl know."""

KILLED = r"Killed process \d+ .*total-vm"
CGROUP = "/sys/fs/cgroup"

TWO_NODES = (
    *("-object", "memory-backend-ram,id=m0,size=384M"),
    *("-object", "memory-backend-ram,id=m1,size=128M"),
    *("-numa", "node,nodeid=0,memdev=m0,cpus=0"),
    *("-numa", "node,nodeid=1,memdev=m1,cpus=1"),
)
# set_mempolicy(MPOL_BIND, node 1), by its number: the image has no numactl.
BIND = (
    "python3 -c 'import ctypes, os; "
    "mask = ctypes.c_ulong(2); "
    "assert ctypes.CDLL(None).syscall(238, 2, ctypes.byref(mask), 64) == 0; "
    'os.execvp("hog", ["hog", "--forever", "--name", "bound"])\''
)


class Scene(NamedTuple):
    """One sample."""

    name: str
    how: str
    play: Callable[[Machine], list[str]]
    """Has it happen; the lines of the kernel's log."""
    memory_mib: int = 512
    qemu_args: tuple[str, ...] = ()
    guarded: bool = False
    """oomd is installed, and runs."""
    panics: bool = False
    elsewhere: bool = False
    """Worth having of other kernels too."""


def _until(machine: Machine, since: str, pattern: str) -> list[str]:
    """The kernel's lines since then, up to what is said last of a kill."""
    machine.wait_journal(pattern, since=since, kernel=True, timeout_s=PATIENCE_S)
    machine.run(["sleep", "1"])
    return machine.journal(since, kernel=True)


def _swap_on(machine: Machine, mib: int) -> None:
    machine.run("modprobe zram num_devices=1")
    machine.run(f"echo {mib}M > /sys/block/zram0/disksize; mkswap /dev/zram0; swapon /dev/zram0")


def _box(machine: Machine, name: str, **settings: str | int) -> str:
    """A cgroup with these settings; the shell words that put a command into it."""
    controllers = "+memory +cpuset"
    machine.run(f"echo '{controllers}' > {CGROUP}/cgroup.subtree_control; mkdir {CGROUP}/{name}")
    for setting, value in settings.items():
        file = setting.replace("_", ".")
        machine.run(f"echo {value} > {CGROUP}/{name}/{file}")
    return f"sh -c 'echo $$ > {CGROUP}/{name}/cgroup.procs; exec \"$@\"' sh"


# --- of the whole machine


def _global_hog(machine: Machine) -> list[str]:
    since = machine.journal_cursor()
    machine.start("hog --mib 30 --uid 1000 --adj 300 --name bystander")
    machine.start("hog --forever")
    return _until(machine, since, KILLED)


def _global_swap(machine: Machine) -> list[str]:
    _swap_on(machine, 100)
    since = machine.journal_cursor()
    machine.start("hog --forever --random --uid 1000")
    return _until(machine, since, KILLED)


def _sysrq(machine: Machine) -> list[str]:
    since = machine.journal_cursor()
    machine.start("hog --mib 20 --adj -200 --name spared").wait_line("^ready")
    machine.start("hog --mib 40").wait_line("^ready")
    machine.run("echo f > /proc/sysrq-trigger")
    return _until(machine, since, KILLED)


def _allocating_task(machine: Machine) -> list[str]:
    machine.run("sysctl -w vm.oom_kill_allocating_task=1")
    since = machine.journal_cursor()
    machine.start("hog --forever --name allocates")
    return _until(machine, since, KILLED)


def _exited_leader(machine: Machine) -> list[str]:
    """The row's pid, and the victim's, is that of a living thread."""
    since = machine.journal_cursor()
    machine.start("hog --mib 60 --exit-leader").wait_line("^ready")
    machine.run("echo f > /proc/sysrq-trigger")
    return _until(machine, since, KILLED)


def _hostile_names(machine: Machine) -> list[str]:
    since = machine.journal_cursor()
    for name in ("a) (b", "x\n[ 1] 0 1 2", "9 pages RAM", "Killed process ", "\x1b[31mred", ") ["):
        machine.start(["hog", "--mib", "5", "--name", name]).wait_line("^ready")
    machine.start(["hog", "--mib", "60", "--name", "1) total-vm:\n9"]).wait_line("^ready")
    machine.run("echo f > /proc/sysrq-trigger")
    return _until(machine, since, KILLED)


def _three_in_a_row(machine: Machine) -> list[str]:
    since = machine.journal_cursor()
    for name in ("first", "second", "third"):
        machine.start(f"hog --mib 40 --name {name}").wait_line("^ready")
    for _ in range(3):
        here = machine.journal_cursor()
        machine.run("echo f > /proc/sysrq-trigger")
        _until(machine, here, KILLED)
    return machine.journal(since, kernel=True)


# --- of a part


def _memcg(machine: Machine) -> list[str]:
    inside = _box(machine, "box", memory_max="40M", memory_swap_max="0")
    since = machine.journal_cursor()
    machine.start(f"{inside} hog --mib 5 --adj 100 --name small").wait_line("^ready")
    machine.start(f"{inside} hog --forever")
    return _until(machine, since, KILLED)


def _memcg_swap(machine: Machine) -> list[str]:
    """totalpages is memory.max and what may be swapped of it."""
    _swap_on(machine, 100)
    inside = _box(machine, "box", memory_max="40M", memory_swap_max="20M")
    since = machine.journal_cursor()
    machine.start(f"{inside} hog --mib 5 --adj 500 --name raised").wait_line("^ready")
    machine.start(f"{inside} hog --forever --random")
    return _until(machine, since, KILLED)


def _memcg_host_swap(machine: Machine) -> list[str]:
    """memory.swap.max is "max": the report does not say how much swap there is."""
    _swap_on(machine, 30)
    inside = _box(machine, "box", memory_max="40M")
    since = machine.journal_cursor()
    machine.start(f"{inside} hog --mib 5 --adj 900 --name raised").wait_line("^ready")
    machine.start(f"{inside} hog --forever --random")
    return _until(machine, since, KILLED)


def _oom_group(machine: Machine) -> list[str]:
    inside = _box(machine, "group", memory_max="40M", memory_swap_max="0", memory_oom_group="1")
    since = machine.journal_cursor()
    machine.start(f"{inside} hog --mib 4 --name member").wait_line("^ready")
    machine.start(f"{inside} hog --mib 4 --adj -1000 --name exempt").wait_line("^ready")
    machine.start(f"{inside} hog --forever")
    machine.wait_journal("memory.oom.group set", since=since, kernel=True, timeout_s=PATIENCE_S)
    return _until(machine, since, r"Killed process \d+ \(member\)")


def _memcg_none_killable(machine: Machine) -> list[str]:
    inside = _box(machine, "box", memory_max="30M", memory_swap_max="0")
    since = machine.journal_cursor()
    hog = machine.start(f"{inside} hog --forever --adj -1000")
    machine.wait_journal("no killable processes", since=since, kernel=True, timeout_s=PATIENCE_S)
    hog.kill()
    lines = machine.journal(since, kernel=True)
    # It comes again with every page that is asked for.
    last = next(n for n, line in enumerate(lines) if "no killable processes" in line)
    return lines[: last + 1]


def _cpuset(machine: Machine) -> list[str]:
    inside = _box(machine, "node1", cpuset_mems="1")
    since = machine.journal_cursor()
    machine.start("hog --mib 100 --name elsewhere").wait_line("^ready")
    machine.start(f"{inside} hog --forever --name bound")
    return _until(machine, since, KILLED)


def _mempolicy(machine: Machine) -> list[str]:
    since = machine.journal_cursor()
    machine.start(BIND)
    return _until(machine, since, KILLED)


# --- panics: the console has the last words


def _of_console(console: str) -> list[str]:
    """From the report's first line to the panic, without the clock."""
    lines = [re.sub(r"^\[ *\d+\.\d+\] ", "", line) for line in console.splitlines()]
    first = next(n for n, line in enumerate(lines) if "invoked oom-killer" in line)
    last = next(n for n, line in enumerate(lines) if line.startswith("Kernel panic"))
    return lines[first : last + 1]


def _panic_on_oom(machine: Machine) -> list[str]:
    machine.run("sysctl -w vm.panic_on_oom=1")
    machine.start("hog --forever")
    return _of_console(machine.wait_panic(PATIENCE_S))


def _panic_compulsory(machine: Machine) -> list[str]:
    machine.run("sysctl -w vm.panic_on_oom=2")
    inside = _box(machine, "box", memory_max="40M", memory_swap_max="0")
    machine.start(f"{inside} hog --forever")
    return _of_console(machine.wait_panic(PATIENCE_S))


def _deadlock(machine: Machine) -> list[str]:
    everybody = (
        "for adj in /proc/[0-9]*/oom_score_adj; do echo -1000 > $adj 2>/dev/null; done; true"
    )
    machine.run(everybody, oom_score_adj=-1000)
    machine.start("hog --forever", oom_score_adj=-1000)
    return _of_console(machine.wait_panic(PATIENCE_S))


# --- the daemon's own words


def _by_oomd(machine: Machine) -> list[str]:
    machine.run(["systemctl", "is-active", "--wait", "oomd"], check=False)
    since = machine.journal_cursor()
    machine.start("hog --forever --rate 60")
    _until(machine, since, KILLED)
    text = machine.run("timeout 5 cat /dev/kmsg || true").stdout
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if "invoked oom-killer" in line)
    return lines[first:]


SCENES = (
    Scene("global", "a hog without end", _global_hog, elsewhere=True),
    Scene("global-swap", "a hog without end, with swap", _global_swap),
    Scene("sysrq", "echo f > /proc/sysrq-trigger", _sysrq, elsewhere=True),
    Scene("sysrq-thrice", "three times sysrq-f", _three_in_a_row),
    Scene("sysrq-leader", "sysrq-f, the worst one's leader has exited", _exited_leader),
    Scene("sysrq-hostile", "sysrq-f among hostile names", _hostile_names, elsewhere=True),
    Scene("allocating", "vm.oom_kill_allocating_task=1", _allocating_task),
    Scene("memcg", "memory.max=40M", _memcg, elsewhere=True),
    Scene("memcg-swap", "memory.max=40M, memory.swap.max=20M", _memcg_swap),
    Scene("memcg-hostswap", "memory.max=40M, 30 MiB of swap", _memcg_host_swap),
    Scene("memcg-group", "memory.oom.group=1", _oom_group, elsewhere=True),
    Scene("memcg-none", "memory.max=30M, its one task at -1000", _memcg_none_killable),
    Scene("cpuset", "cpuset.mems=1 of two nodes", _cpuset, qemu_args=TWO_NODES),
    Scene("mempolicy", "MPOL_BIND to node 1 of two", _mempolicy, qemu_args=TWO_NODES),
    Scene("panic", "vm.panic_on_oom=1", _panic_on_oom, panics=True),
    Scene("panic-memcg", "vm.panic_on_oom=2, memory.max=40M", _panic_compulsory, panics=True),
    Scene("panic-none", "everybody at -1000", _deadlock, panics=True, elsewhere=True),
    Scene("by-oomd", "killed by oomd", _by_oomd, guarded=True),
)
