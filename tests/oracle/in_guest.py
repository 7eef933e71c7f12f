"""What runs inside the virtual machine: makes populations, asks oomd, then asks the kernel.

    python3 in_guest.py POPULATIONS RESULTS

One JSON object a line in both files. Prints "done NUMBER" for each. It is the parent or the reaper
of every process it makes, never a candidate itself, and it waits for events, not for a while.
"""

import ctypes
import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import oomd.cli

CGROUP = "/sys/fs/cgroup/oracle"
COMMAND = "/usr/local/bin/oomd"
HOG = "/usr/local/bin/hog"
SWAP = b"/dev/zram0"
PATIENCE_S = 120.0
# Of process numbers: low, so that they wrap around within a run as well as when asked to.
PID_MAX = 4000
# How much more than its limit a memcg's trigger takes, and a node's.
MEMCG_SLACK_BYTES = 256 << 10
NODE_SLACK_MIB = 10
KMSG_RECORD_BYTES = 8192

_libc = ctypes.CDLL(None, use_errno=True)
Json = dict[str, Any]


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


# --- the kernel's log


class Kmsg:
    """Raw records of the kernel's log, from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.records: list[str] = []

    def close(self) -> None:
        os.close(self._fd)

    def drain(self) -> None:
        """Take what is there."""
        while True:
            try:
                record = os.read(self._fd, KMSG_RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                self.records.append("lost")
                continue
            self.records.append(record.decode("utf-8", "surrogateescape").split("\n", 1)[0])

    def wait_for(self, pattern: str) -> bool:
        """Take records until one matches; False: none has for too long."""
        regex = re.compile(pattern)
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        looked = 0
        while True:
            self.drain()
            if any(regex.search(one) for one in self.records[looked:]):
                return True
            looked = len(self.records)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            poll.poll(left_s * 1000)


OUTCOME = r"Killed process \d+ |no killable processes|is already exiting"


# --- processes


class People:
    """Every process of one population, by what its hog has said."""

    def __init__(self) -> None:
        self.made: list[Json] = []
        self._pipes: list[tuple[Json, int]] = []
        self._pidfds: dict[int, int] = {}

    def start(self, arguments: list[str]) -> Json:
        out, end = os.pipe()
        pid = os.posix_spawn(
            HOG,
            ["hog", *arguments],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, end, 1),
            ],
        )
        os.close(end)
        one: Json = {"pid": pid, "arguments": arguments, "relatives": []}
        self.made.append(one)
        self._pipes.append((one, out))
        return one

    def wait_ready(self) -> None:
        """All that were started hold what they were asked to hold."""
        for one, pipe in self._pipes:
            text = ""
            while not re.search(r"^ready \d+\n", text, re.MULTILINE):
                if not select.select([pipe], [], [], PATIENCE_S)[0]:
                    raise TimeoutError(f"{one['arguments']} is not ready, it said {text!r}")
                data = os.read(pipe, 4096)
                if not data:
                    raise RuntimeError(f"{one['arguments']} has ended, it said {text!r}")
                text += data.decode()
            words = [line.split() for line in text.splitlines()]
            one["relatives"] = [[word, int(pid)] for word, pid in words if word != "ready"]
            os.close(pipe)
        self._pipes = []
        for pid in self.pids():
            if pid not in self._pidfds:
                try:
                    self._pidfds[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue

    def pids(self) -> list[int]:
        found = []
        for one in self.made:
            found += [one["pid"], *(pid for _, pid in one["relatives"])]
        return found

    def _exited(self, pid: int, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfds[pid], select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def already_dead(self) -> list[int]:
        return [pid for pid in self.pids() if pid not in self._pidfds or self._exited(pid, 0)]

    def wait_dead(self, pids: list[int]) -> None:
        """They have all exited, or have been given their time to."""
        deadline = time.monotonic() + 20
        for pid in pids:
            if pid in self._pidfds:
                self._exited(pid, max(deadline - time.monotonic(), 0))

    def dead(self) -> list[int]:
        """Who has exited, or has been sent a SIGKILL and is about to."""
        return [
            pid
            for pid in self.pids()
            if pid not in self._pidfds or self._exited(pid, 0) or doomed(pid)
        ]

    def end(self) -> None:
        """Kill and reap all of them, whoever made them: orphans become this process's children."""
        while True:
            for word in read("/proc/thread-self/children").split():
                os.kill(int(word), signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        for fd in (*self._pidfds.values(), *(pipe for _, pipe in self._pipes)):
            os.close(fd)


def doomed(pid: int) -> bool:
    """SIGKILL is pending for every thread of it."""
    try:
        tids = os.listdir(f"/proc/{pid}/task")
        for tid in tids:
            found = re.search(r"^ShdPnd:\t(\w+)$", read(f"/proc/{pid}/task/{tid}/status"), re.M)
            own = re.search(r"^SigPnd:\t(\w+)$", read(f"/proc/{pid}/task/{tid}/status"), re.M)
            if found and own and not (int(found[1], 16) | int(own[1], 16)) & 0x100:
                return False
    except OSError:
        pass
    return True


# --- the surroundings


def cgroup_of(name: str) -> str:
    return f"{CGROUP}/{name}" if name else CGROUP


def all_cgroups(population: Json) -> list[str]:
    """The population's own and all below it, parents first."""
    found = [""]
    for leaf in population["leaves"]:
        parts = leaf.split("/")
        found += ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return list(dict.fromkeys(found))


def make_cgroups(population: Json) -> None:
    """Made anew: a cgroup that hands a controller on may hold no process itself."""
    controllers = "+memory +cpuset" if population["scene"] == "cpuset" else "+memory"
    write("/sys/fs/cgroup/cgroup.subtree_control", controllers)
    for name in all_cgroups(population):
        os.mkdir(cgroup_of(name))
        if any(leaf.startswith(f"{name}/" if name else "") for leaf in population["leaves"]):
            write(f"{cgroup_of(name)}/cgroup.subtree_control", controllers)
    if population["scene"] == "cpuset":
        for node in range(2):
            write(f"{CGROUP}/n{node}/cpuset.mems", str(node))
    for name in population["groups"]:
        write(f"{cgroup_of(name)}/memory.oom.group", "1")


def remove_cgroups(population: Json) -> None:
    for name in reversed(all_cgroups(population)):
        if os.path.isdir(cgroup_of(name)):
            os.rmdir(cgroup_of(name))


@contextmanager
def surroundings(population: Json) -> Iterator[None]:
    """What the population lives in; as it was afterwards."""
    write("/proc/sys/kernel/randomize_va_space", "2" if population["aslr"] else "0")
    if population["swap"] and _libc.swapon(SWAP, 0):
        raise OSError(ctypes.get_errno(), "swapon")
    try:
        make_cgroups(population)
        yield
    finally:
        remove_cgroups(population)
        if population["swap"]:
            _libc.swapoff(SWAP)


def wrap_pids() -> None:
    """The next process but one gets the smallest number that is free."""
    write("/proc/sys/kernel/ns_last_pid", str(PID_MAX - 3))


# --- oomd


def question(population: Json) -> list[str]:
    """What the audit is asked: the same as the kernel is going to be."""
    match population["scene"]:
        case "sysrq":
            return ["--manual"]
        case "memcg":
            return ["--memcg", CGROUP.removeprefix("/sys/fs/cgroup")]
        case scene:
            return ["--nodes", f"{scene}:1"]


def forked(work: Callable[[int], None]) -> str:
    """What ``work`` writes to a descriptor, in a process of its own that is gone afterwards."""
    fd = os.memfd_create("audit", 0)
    pid = os.fork()
    if pid == 0:
        try:
            work(fd)
            os._exit(0)
        except BaseException as error:  # it must never go on as a second driver
            os.write(2, f"{error!r}\n".encode())
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        text = file.read().decode()
    if not text:
        raise RuntimeError(f"the audit has ended with {status} and has said nothing")
    return text


def audit(population: Json, policy: str) -> Json:
    arguments = ["--dry-run", "--json", "--policy", policy, *question(population)]

    def command_line(fd: int) -> None:
        os.dup2(fd, 1)
        oomd.cli.main(arguments)
        sys.stdout.flush()

    if population["as_command"]:
        ran = subprocess.run([COMMAND, *arguments], check=False, capture_output=True, text=True)
        text = ran.stdout or ran.stderr
    else:
        text = forked(command_line)
    found: Json = json.loads(text)
    return found


# --- one population


def start_people(population: Json, people: People) -> None:
    uses_cgroup = population["scene"] != "mempolicy"
    for person in population["people"]:
        if person["wraps"]:
            wrap_pids()
        where = ["--cgroup", cgroup_of(person["cgroup"])] if uses_cgroup else []
        people.start([*where, *person["arguments"]])
    people.wait_ready()
    for person, made in zip(population["people"], people.made, strict=True):
        if person["moved"] and uses_cgroup and made["pid"] not in people.already_dead():
            here = read(f"/proc/{made['pid']}/cgroup").strip().removeprefix("0::")
            write("/sys/fs/cgroup/cgroup.procs", str(made["pid"]))
            write(f"/sys/fs/cgroup{here}/cgroup.procs", str(made["pid"]))


def free_mib(node: int) -> int:
    text = read(f"/sys/devices/system/node/node{node}/meminfo")
    found = re.search(r"MemFree:\s+(\d+) kB", text)
    assert found
    return int(found[1]) // 1024


def start_trigger(population: Json, people: People) -> Json | None:
    """Who will run out of memory when told to: nobody's candidate, and grown already."""
    scene = population["scene"]
    if scene == "sysrq":
        return None
    base = ["--name", "trigger", "--adj", "-1000", "--on-usr1", "grow"]
    if scene == "memcg":
        leaf = cgroup_of(population["leaves"][0] if population["leaves"] else "")
        # What may be swapped out is used up first.
        grow_mib = 1 + (population["swap_max_mib"] + 1 if population["swap"] else 0)
        trigger = people.start([*base, "--cgroup", leaf, "--grow-mib", str(grow_mib)])
        people.wait_ready()
        current = int(read(f"{CGROUP}/memory.current"))
        if population["swap"]:
            write(f"{CGROUP}/memory.swap.max", str(population["swap_max_mib"] << 20))
        write(f"{CGROUP}/memory.max", str(current + MEMCG_SLACK_BYTES))
        return trigger
    fill = ["--mib", str(max(free_mib(1) - NODE_SLACK_MIB, 0)), "--grow-mib", "24"]
    bound = ["--cgroup", cgroup_of("n1")] if scene == "cpuset" else ["--bind", "2"]
    trigger = people.start([*base, *fill, *bound])
    people.wait_ready()
    return trigger


def ask_the_kernel(trigger: Json | None, kmsg: Kmsg) -> bool:
    if trigger is None:
        write("/proc/sysrq-trigger", "f")
    else:
        os.kill(trigger["pid"], signal.SIGUSR1)
    answered = kmsg.wait_for(OUTCOME)
    if trigger is not None:
        # It would go on, and what it asks for next is another question.
        os.kill(trigger["pid"], signal.SIGKILL)
    return answered


def play(population: Json) -> Json:
    people = People()
    kmsg = Kmsg()
    result: Json = {"population": population, "kernel": os.uname().release, "seconds": {}}
    began_s = time.monotonic()

    def took(what: str) -> None:
        result["seconds"][what] = round(time.monotonic() - began_s, 2)

    try:
        with surroundings(population):
            try:
                start_people(population, people)
                trigger = start_trigger(population, people)
                took("people")
                before = people.already_dead()
                if population["el7_too"]:
                    result["el7"] = audit(population, "el7")["decision"]
                result["audit"] = audit(population, "mainline")
                took("audit")
                result["answered"] = ask_the_kernel(trigger, kmsg)
                victims = [one["pid"] for one in result["audit"]["decision"]["victims"]]
                people.wait_dead(victims)
                took("kernel")
                gone = {*before, trigger["pid"]} if trigger is not None else {*before}
                result["dead"] = sorted(set(people.dead()) - gone)
                # After it: whoever has died of another kill is told of there.
                kmsg.drain()
                result["people"] = people.made
                result["kmsg"] = kmsg.records
            finally:
                people.end()
    finally:
        kmsg.close()
    took("end")
    return result


def main() -> None:
    pr_set_child_subreaper = 36
    if _libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    write("/proc/sys/kernel/pid_max", str(PID_MAX))
    with open(sys.argv[1]) as file:
        populations = [json.loads(line) for line in file]
    with open(sys.argv[2], "a") as results:
        for population in populations:
            result = play(population)
            results.write(json.dumps(result) + "\n")
            results.flush()
            print("done", population["number"], flush=True)


if __name__ == "__main__":
    main()
