"""The processes of a population: started, waited for, looked at, ended."""

import os
import re
import select
import signal
import time

from tests.oracle.guest.files import Json, read

__all__ = ["People"]

HOG = "/usr/local/bin/hog"
PATIENCE_S = 120.0
DYING_S = 20.0


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

    def wait_leavers(self) -> None:
        """Those that were asked to exit once they are ready have done so."""
        leavers = [one["pid"] for one in self.made if "--exit-after-ready" in one["arguments"]]
        self.wait_dead(leavers)

    def pids(self) -> list[int]:
        found = []
        for one in self.made:
            found += [one["pid"], *(pid for _, pid in one["relatives"])]
        return found

    def _exited(self, pid: int, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfds[pid], select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def stat_rss_pages(self) -> dict[int, int]:
        """What their stat files say: of a leader that has exited, what a living thread's says."""
        found = {}
        for pid in self.pids():
            try:
                tids = os.listdir(f"/proc/{pid}/task")
                stats = [read(f"/proc/{pid}/task/{tid}/stat") for tid in tids]
            except OSError:
                continue
            found[pid] = max(int(stat.rpartition(")")[2].split()[21]) for stat in stats)
        return found

    def already_dead(self) -> list[int]:
        return [pid for pid in self.pids() if pid not in self._pidfds or self._exited(pid, 0)]

    def wait_dead(self, pids: list[int]) -> None:
        """They have all exited, or have been given their time to."""
        deadline = time.monotonic() + DYING_S
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
