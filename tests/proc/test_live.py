"""Against this machine's kernel, with processes of our own and oracles we did not write."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from oomd.mm_types import Task
from oomd.proc.meminfo import read_meminfo
from oomd.proc.nodes import read_nodes
from oomd.proc.pressure import read_pressure
from oomd.proc.relatives import (
    candidates_for_sharing,
    confirm_sharers,
    find_sharers,
    iter_children,
    presumed_same_mm,
)
from oomd.proc.root import Root
from oomd.proc.snapshot import take_snapshot
from oomd.proc.sysctl import read_sysctls
from oomd.proc.task import read_task
from tests.proc.hostile import HOSTILE_COMMS
from tests.proc.processes import Helper, helper

pytestmark = pytest.mark.live

ROOT = Root()
PAGE = os.sysconf("SC_PAGE_SIZE")

WAITS = "say('ready'); hear()"


def task_of(pid: int) -> Task:
    task = read_task(ROOT, pid, PAGE)
    assert task is not None
    return task


def await_state(pid: int, state: str) -> None:
    """Until the kernel shows it. A kernel that never does hangs the test, which is the failure."""
    while task_of(pid).state != state:
        os.sched_yield()


@pytest.fixture(scope="module")
def namer() -> Iterator[Helper]:
    """Names itself (PR_SET_NAME) as told, in hexadecimal."""
    code = (
        "say('ready')\n"
        "while line := hear():\n"
        "    libc.prctl(15, ctypes.c_char_p(bytes.fromhex(line.decode())), 0, 0, 0)\n"
        "    say('done')\n"
    )
    with helper(code) as process:
        process.hear()
        yield process


@pytest.mark.parametrize("comm", HOSTILE_COMMS)
def test_hostile_comm_of_a_real_process(namer: Helper, comm: bytes) -> None:
    namer.ask(comm.hex().encode())
    task = task_of(namer.pid)
    # The kernel keeps 15 bytes.
    assert task.comm.encode("utf-8", "surrogateescape") == comm[:15]
    assert (task.ppid, task.uid, task.refused) == (os.getpid(), os.getuid(), "")
    assert task.has_mm
    assert task.rss_pages > 0


def test_every_process_agrees_with_psutil() -> None:
    boot_s = psutil.boot_time()
    agreed = 0
    for task in take_snapshot(ROOT).tasks:
        try:
            process = psutil.Process(task.pid)
            with process.oneshot():
                facts = (process.ppid(), process.uids().real, process.num_threads())
                created_s = process.create_time()
        except psutil.Error:
            continue
        if task.refused:
            continue
        again = read_task(ROOT, task.pid, PAGE)
        if again is None or again.ident != task.ident:
            continue
        # What changed between the two reads proves nothing.
        if again._replace(faults=0) != task._replace(faults=0):
            continue
        assert facts[:2] == (task.ppid, task.uid)
        assert abs(created_s - boot_s - task.starttime_ticks / ROOT.clock_ticks()) < 2
        agreed += 1
    assert agreed > 1


def test_sizes_agree_with_psutil_and_statm() -> None:
    with helper("ballast = bytearray(30 << 20)\n" + WAITS) as process:
        process.hear()
        await_state(process.pid, "S")
        while True:
            task = task_of(process.pid)
            memory = psutil.Process(process.pid).memory_full_info()
            statm = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()
            # The kernel may take pages from a sleeper at any time.
            if task == task_of(process.pid):
                break
    assert task.rss_pages * PAGE == memory.rss
    assert task.swapents_pages * PAGE == memory.swap
    assert [task.total_vm_pages, task.rss_pages] == [int(statm[0]), int(statm[1])]
    assert task.file_rss_pages + task.shmem_rss_pages == int(statm[2])
    assert task.rss_pages == task.anon_rss_pages + task.file_rss_pages + task.shmem_rss_pages
    assert task.anon_rss_pages * PAGE > 30 << 20
    assert task.pgtables_pages > 10


def test_meminfo_agrees_with_psutil() -> None:
    meminfo = read_meminfo(ROOT)
    assert meminfo.mem_total_kib << 10 == psutil.virtual_memory().total
    assert meminfo.swap_total_kib << 10 == psutil.swap_memory().total


def test_nodes_hold_the_machine_s_memory() -> None:
    nodes = read_nodes(ROOT)
    online = Path("/sys/devices/system/node").glob("node[0-9]*")
    assert {node.nid for node in nodes} <= {int(path.name[4:]) for path in online} | {0}
    present_kib = sum(node.present_pages for node in nodes) * (PAGE >> 10)
    assert present_kib >= read_meminfo(ROOT).mem_total_kib
    assert all(node.spanned_pages >= node.present_pages for node in nodes)


def test_settings_can_be_read() -> None:
    sysctls = read_sysctls(ROOT)
    assert sysctls.not_observable == ()
    panic = Path("/proc/sys/vm/panic_on_oom").read_text(encoding="ascii")
    assert sysctls.panic_on_oom == int(panic)
    read_pressure(ROOT)


# --- how processes end


def test_exited_leader_of_a_real_process() -> None:
    code = (
        "def worker():\n"
        "    libc.prctl(15, b'worker', 0, 0, 0)\n"
        "    say(threading.get_native_id())\n"
        "    hear()\n"
        "ballast = bytearray(30 << 20)\n"
        "threading.Thread(target=worker).start()\n"
        "libc.pthread_exit(None)\n"
    )
    with helper(code) as process:
        tid = int(process.hear())
        while "\nState:\tZ" not in Path(f"/proc/{process.pid}/status").read_text("ascii"):
            os.sched_yield()
        task = task_of(process.pid)
    assert (task.pid, task.mm_tid, task.comm) == (process.pid, tid, "worker")
    assert task.leader_exited
    assert not task.exit_state
    assert task.anon_rss_pages * PAGE > 30 << 20
    assert (task.ppid, task.num_threads) == (os.getpid(), 2)


def test_zombie_and_gone() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    await_state(pid, "Z")
    zombie = task_of(pid)
    assert (zombie.exit_state, zombie.has_mm, zombie.size_pages) == (True, False, 0)
    os.waitpid(pid, 0)
    assert read_task(ROOT, pid, PAGE) is None


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.mark.skipif(
    not os.access(FREEZER / "tasks", os.W_OK), reason="no v1 freezer cgroup to hold a victim in"
)
def test_pending_sigkill_of_a_frozen_process() -> None:
    cgroup = FREEZER / f"oomd-test-{os.getpid()}"
    cgroup.mkdir()
    sleeper = subprocess.Popen(["sleep", "3600"])
    try:
        assert not task_of(sleeper.pid).sigkill_pending
        (cgroup / "tasks").write_text(f"{sleeper.pid}\n")
        (cgroup / "freezer.state").write_text("FROZEN\n")
        while (cgroup / "freezer.state").read_text() != "FROZEN\n":
            os.sched_yield()
        sleeper.kill()
        assert task_of(sleeper.pid).sigkill_pending
    finally:
        sleeper.kill()
        (cgroup / "freezer.state").write_text("THAWED\n")
        sleeper.wait()
        cgroup.rmdir()


# --- relatives

CLONE_VM = 0x100

FAMILY = (
    # A process that shares our memory and sleeps in the C library.
    "stack = ctypes.create_string_buffer(65536)\n"
    "top = ctypes.c_void_p((ctypes.addressof(stack) + 65536) & ~15)\n"
    f"sharer = libc.clone(libc.sleep, top, {CLONE_VM} | 17, ctypes.c_void_p(3600))\n"
    # And one that has a copy of it, of the same size.
    "copy = os.fork()\n"
    "if copy == 0:\n"
    "    libc.sleep(3600)\n"
    "say(sharer, copy)\n"
    "hear()\n"
)


@contextmanager
def family() -> Iterator[tuple[Helper, int, int]]:
    """A process, one that shares its memory, one that has a copy of it."""
    with ExitStack() as stack:
        parent = stack.enter_context(helper(FAMILY))
        sharer, copy = (int(word) for word in parent.hear().split())
        for pid in (sharer, copy):
            pidfd = os.pidfd_open(pid)
            stack.callback(os.close, pidfd)
            stack.callback(signal.pidfd_send_signal, pidfd, signal.SIGKILL)
        await_state(copy, "S")
        await_state(parent.pid, "S")
        yield parent, sharer, copy


def test_sharers_by_kcmp() -> None:
    with family() as (parent, sharer, copy):
        assert ROOT.same_mm(parent.pid, sharer) is True
        assert ROOT.same_mm(parent.pid, copy) is False
        victim = task_of(parent.pid)
        children = tuple(iter_children(ROOT, victim, PAGE))
        assert {child.pid for child in children} == {sharer, copy}
        assert sharer in {ident.pid for ident in presumed_same_mm(victim, children)}
        assert sharer in {task.pid for task in candidates_for_sharing(children, victim)}
        sharers = find_sharers(ROOT, victim, PAGE)
        assert [task.pid for task in sharers.confirmed] == [sharer]
        assert copy not in {task.pid for task in sharers.unconfirmed}


def test_after_the_kill_a_sharer_is_never_lost() -> None:
    with family() as (parent, sharer, copy):
        victim = task_of(parent.pid)
        candidates = [task_of(sharer), task_of(copy)]
        parent.kill()
        judged = confirm_sharers(ROOT, victim, candidates, PAGE)
        assert sharer in {task.pid for task in (*judged.confirmed, *judged.unconfirmed)}
        assert copy not in {task.pid for task in judged.confirmed}
        parent.process.wait()
        judged = confirm_sharers(ROOT, victim, candidates, PAGE)
        assert judged.confirmed == ()
        assert [task.pid for task in judged.unconfirmed] == [sharer, copy]


def test_nobody_is_the_same_as_a_process_that_is_gone() -> None:
    with helper(WAITS) as process:
        process.hear()
        pid = process.pid
    assert ROOT.same_mm(pid, os.getpid()) is None
    assert ROOT.same_mm(os.getpid(), os.getpid()) is True


# --- hidepid

HIDEPID = """
import ctypes, os, sys
sys.path.insert(0, {repo!r})
from oomd.proc.root import Root
from oomd.proc.task import read_task
from oomd.proc.snapshot import take_snapshot
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
    sys.exit("unshare")
if libc.mount(b"proc", {mount!r}, b"proc", 0, b"hidepid={level}"):
    sys.exit("mount")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
root = Root({tree!r})
say(repr(read_task(root, {pid}, 4096)))
snapshot = take_snapshot(root)
say(snapshot.tasks_seen, sum(not task.refused for task in snapshot.tasks))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a proc of its own: needs root")
@pytest.mark.parametrize("level", [1, 2])
def test_hidepid_of_a_real_mount(tmp_path: Path, level: int) -> None:
    (tmp_path / "proc").mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        os.chmod(folder, 0o755)
    repo = str(Path(__file__).parents[2])
    code = HIDEPID.format(
        repo=repo,
        mount=os.fsencode(tmp_path / "proc"),
        tree=str(tmp_path),
        level=level,
        pid=os.getpid(),
    )
    with helper(code) as process:
        seen = process.hear()
        counts = [int(word) for word in process.hear().split()]
    if level == 1:
        # Listed, and every file refused.
        refused = "stat: EPERM; oom_score_adj: EPERM; status: EPERM"
        assert seen == repr(
            Task(os.getpid(), 0, uid=None, state="?", has_mm=False)._replace(
                mm_tid=os.getpid(), refused=refused
            )
        )
        assert counts[0] > counts[1] >= 1
    else:
        # Not even listed.
        assert seen == "None"
        assert counts[0] == counts[1] >= 1
