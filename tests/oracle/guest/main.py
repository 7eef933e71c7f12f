"""What runs inside the virtual machine: makes populations, asks oomd, then asks the kernel.

    python3 -m tests.oracle.guest.main POPULATIONS RESULTS

One JSON object a line in both files. Prints "done NUMBER" for each. It is the parent or the reaper
of every process it makes, never a candidate itself, and it waits for events, not for a while.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import oomd.cli
from tests.oracle.guest.files import Json, read, write
from tests.oracle.guest.kmsg import Kmsg
from tests.oracle.guest.people import People
from tests.oracle.guest.surroundings import (
    CGROUP,
    cgroup_of,
    free_mib,
    limit_pids,
    surroundings,
    wrap_pids,
)

COMMAND = "/usr/local/bin/oomd"
# How much more than its limit a memcg's trigger takes, and a node's.
MEMCG_SLACK_BYTES = 256 << 10
NODE_SLACK_MIB = 16

OUTCOME = r"Killed process \d+ |no killable processes|is already exiting"


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
    for person in population["people"]:
        if person["wraps"]:
            wrap_pids()
        people.start(["--cgroup", cgroup_of(person["cgroup"]), *person["arguments"]])
    people.wait_ready()
    people.wait_leavers()
    for person, made in zip(population["people"], people.made, strict=True):
        if person["moved"] and made["pid"] not in people.already_dead():
            here = read(f"/proc/{made['pid']}/cgroup").strip().removeprefix("0::")
            write("/sys/fs/cgroup/cgroup.procs", str(made["pid"]))
            write(f"/sys/fs/cgroup{here}/cgroup.procs", str(made["pid"]))


def start_trigger(population: Json, people: People) -> Json | None:
    """Who will run out of memory when told to: nobody's candidate, and grown already."""
    scene = population["scene"]
    if scene == "sysrq":
        return None
    base = ["--name", "trigger", "--adj", "-1000", "--on-usr1", "grow"]
    if scene == "memcg":
        leaf = cgroup_of(population["leaves"][0] if population["leaves"] else "")
        # What may be swapped out is used up first, and what is charged ahead for each processor.
        grow_mib = 4 + population["swap_max_mib"]
        trigger = people.start([*base, "--cgroup", leaf, "--grow-mib", str(grow_mib)])
        people.wait_ready()
        current = int(read(f"{CGROUP}/memory.current"))
        if population["swap"]:
            write(f"{CGROUP}/memory.swap.max", str(population["swap_max_mib"] << 20))
        write(f"{CGROUP}/memory.max", str(current + MEMCG_SLACK_BYTES))
        return trigger
    fill = ["--mib", str(max(free_mib(1) - NODE_SLACK_MIB, 0)), "--grow-mib", "40"]
    bound = ["--cgroup", cgroup_of("n1" if scene == "cpuset" else "all")]
    bound += ["--bind", "2"] if scene == "mempolicy" else []
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
                result["stat_rss_pages"] = people.stat_rss_pages()
                took("audit")
                # A node may be full before it was meant to be.
                kmsg.drain()
                result["early"] = any(re.search(OUTCOME, one) for one in kmsg.records)
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
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    limit_pids()
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
