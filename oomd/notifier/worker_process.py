"""The sentinel's end of the worker: starts it, asks it for memory, and never depends on it.

The one thing that is waited for is the chain, and no longer than its deadline. A worker that is
hung, dead or babbling costs a storm no more than that once, and is started anew when it is calm.
"""

import os
from _socket import socket

from oomd import helpers, wire
from oomd.config import bare_plan
from oomd.event import Look
from oomd.lean import signal
from oomd.log import ERR, WARNING
from oomd.notifier.asked import NOTIFIERS_MAX, Asked, question
from oomd.notifier.channel import Channel, Words, channel_pair
from oomd.notifier.listener import knocking, listen, stop_listening
from oomd.oom import Notified, NotifierChain
from oomd.proc.root import Root
from oomd.settings import NotifierSettings
from oomd.typed import Callable

__all__ = ["MODULE", "WorkerProcess"]

MODULE = "oomd.notifier.worker"

# What failed to start is tried again after this; what was told to go has as long to do it.
RETRY_MS, LEAVE_MS = 1000, 2000
# It sets its own limit, once it knows from the plan what it is to hold.
UNLIMITED_BYTES = -1

Say = Callable[[int, str], None]
Now = Callable[[], int]


class WorkerProcess:
    """At most one worker at a time."""

    def __init__(
        self, root: Root, say: Say, now_ms: Now, socket_path: str, module: str = MODULE
    ) -> None:
        """``socket_path``: where clients find the worker; empty: nowhere."""
        self._root = root
        self._say = say
        self._now_ms = now_ms
        self._path = socket_path
        self._module = module
        self._settings = NotifierSettings()
        self._pending: NotifierSettings | None = None
        self._listener: socket | None = None
        self._channel: Channel | None = None
        self._pid = 0
        self._leaving: dict[int, int] = {}
        self._seq = 0
        self._behind = False
        self._behind_until_ms = 0
        self._gone_by_ms = 0
        self._idle = self._nobody = False
        self._faults = 0
        self._not_before_ms = 0
        self._words = Words()
        self._stormed = False
        self._calm = True
        self.count = 0
        """How many notifiers are registered."""
        self.changed: list[str] = []
        """What has changed about the machine since the caller last looked, in words."""

    @property
    def running(self) -> bool:
        """There is a worker to ask."""
        return self._channel is not None

    @property
    def faults(self) -> int:
        """Of workers, since the settings were taken."""
        return self._faults

    # --- settings

    def configure(self, settings: NotifierSettings, *, calm: bool) -> None:
        """Take new settings, if need be once it is calm: a new worker has them, and a clean record.

        In a storm nothing is started, and nobody who could give memory back is sent away.
        """
        self._pending = settings
        if calm:
            self._calm = True
            self._take(settings)

    def _take(self, settings: NotifierSettings) -> None:
        self._pending = None
        self._retire()
        self._settings = settings
        self._faults, self._not_before_ms, self._idle = 0, 0, False
        self._listen()
        if settings.plan:
            self._start()

    def _listen(self) -> None:
        self._stop_listening()
        if not self._path:
            return
        # Also if clients are off: root may look at who is registered, and no more.
        try:
            self._listener = listen(self._path, everybody=self._settings.clients == "all")
        except OSError as error:
            self._say(WARNING, f"{self._path}: {error.strerror}: no program can register there")

    def _stop_listening(self) -> None:
        if self._listener is not None:
            stop_listening(self._listener, self._path)
            self._listener = None

    # --- starting and ending

    def _start(self) -> None:
        try:
            ours, theirs = channel_pair()
        except OSError as error:
            self._cannot_start(error)
            return
        plan = -1
        listen = self._listener.fileno() if self._listener is not None else -1
        try:
            plan = os.memfd_create("oomd-plan")
            os.write(plan, (self._settings.plan or bare_plan(self._settings)).encode())
            os.lseek(plan, 0, os.SEEK_SET)
            fds = {"--channel": theirs.fileno(), "--listen": listen, "--plan": plan}
            self._pid = helpers.spawn(
                self._module,
                [word for option, fd in fds.items() for word in (option, str(fd))],
                inherited=[fd for fd in fds.values() if fd >= 0],
                data_bytes=UNLIMITED_BYTES,
                ends_with_us=True,
            )
        except OSError as error:
            ours.close()
            self._cannot_start(error)
            return
        finally:
            theirs.close()
            if plan >= 0:
                os.close(plan)
        self._channel = ours
        self._behind = self._idle = self._nobody = False

    def _cannot_start(self, error: OSError) -> None:
        self._not_before_ms = self._now_ms() + RETRY_MS
        self._say(ERR, f"the worker cannot be started: {error.strerror}")

    def _retire(self) -> None:
        """Let the worker go: the end of the channel is the end of its work."""
        self._hang_up()
        if self._pid:
            self._leaving[self._pid] = self._now_ms() + LEAVE_MS
            self._pid = 0

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self.count = 0

    def _fault(self, what: str) -> None:
        """The worker has failed. Its children go with it."""
        self._retire()
        self._faults += 1
        off, then = self._faults >= wire.FAULTS, "it is started anew when it is calm"
        if off:
            then = f"{wire.FAULTS} faults, no notifier is called until a reload"
        self._say(ERR if off else WARNING, f"the worker {what}: {then}")
        self._not_before_ms = self._now_ms() + RETRY_MS

    def _collect(self) -> None:
        """Take leave of those that have ended, and see off those that would not go."""
        for pid, until_ms in tuple(self._leaving.items()):
            if helpers.ended(pid) is not None:
                del self._leaving[pid]
            elif self._now_ms() >= until_ms:
                # Not collected yet, so the pid is still its own.
                os.kill(pid, signal.SIGKILL)
        code = helpers.ended(self._pid) if self._pid else None
        if code is None:
            if self._pid and self._channel is None and self._now_ms() >= self._gone_by_ms:
                os.kill(self._pid, signal.SIGKILL)
            return
        self._pid = 0
        faults = self._faults
        # Its last words may still be there.
        self._read()
        self._hang_up()
        if code == wire.EXIT_IDLE:
            # Nobody has registered. It is wanted again when somebody connects.
            self._idle = True
        if code == wire.EXIT_IDLE or self._faults != faults:
            return
        how = f"was killed by signal {-code}" if code < 0 else f"has ended with status {code}"
        self._fault(how)

    # --- what the loop asks

    def fds(self) -> tuple[int, ...]:
        """What ends the sleep: words of the worker, or somebody who wants one."""
        if self._channel is not None:
            return (self._channel.fileno(),)
        if self._listener is not None and self._may_start():
            return (self._listener.fileno(),)
        return ()

    def _may_start(self) -> bool:
        return (
            self._calm
            and not self._pid
            and self._faults < wire.FAULTS
            and self._now_ms() >= self._not_before_ms
        )

    @property
    def at_rest(self) -> bool:
        """Nothing is due at some time: what happens next ends the sleep by itself."""
        if self._pending is not None or self._leaving or self._stormed:
            return False
        if self._pid:
            return self._channel is not None
        over = self._now_ms() >= self._not_before_ms
        return over and (self._faults >= wire.FAULTS or not self._planned)

    @property
    def _planned(self) -> bool:
        return bool(self._settings.plan) and not self._idle

    def attend(self, *, calm: bool) -> None:
        """After a turn of the loop. ``calm``: no storm, and nobody is dying."""
        self._calm = calm
        self._collect()
        self._read()
        if not calm:
            return
        if self._pending is not None:
            self._take(self._pending)
        if self._stormed:
            self._end_storm()
        wanted = self._planned or (self._listener is not None and knocking(self._listener))
        if wanted and self._may_start():
            self._start()

    def _end_storm(self) -> None:
        if self._behind and self._channel is not None:
            if self._now_ms() < self._behind_until_ms:
                # Late is not hung; its answer will wake us up.
                return
            self._fault("was left behind, it did not end the chain in time")
        elif self._channel is not None:
            self._channel.send({"op": "calm"})
        self._stormed = False

    def close(self) -> None:
        """We are about to stop. What releasers have to put right takes a moment: see ``gone``."""
        self._retire()
        self._stop_listening()

    @property
    def gone(self) -> bool:
        """Every worker that was told to go has gone."""
        self._collect()
        return not self._leaving

    # --- talking

    def _read(self) -> None:
        if self._channel is None:
            return
        try:
            for message in self._channel.messages():
                self._heard(message)
                self._words.count(self._now_ms())
        except wire.WireError as error:
            self._fault(f"has sent {error}")
        else:
            self._see_its_end()

    def _see_its_end(self) -> None:
        if self._channel is not None and not self._channel.open:
            # How it ended is known when it is collected.
            self._hang_up()
            self._gone_by_ms = self._now_ms() + LEAVE_MS

    def _heard(self, message: wire.Message) -> None:
        match message["op"]:
            case "registered":
                self.count = wire.integer(message, "count", 0, NOTIFIERS_MAX)
                self._nobody = not self.count
            case "changed":
                self.changed = [*self.changed[-9:], wire.text(message, "what")]
            case "done":
                # Late, but it is alive.
                if wire.integer(message, "seq") == self._seq:
                    self._behind = False
            case "result":
                # Of a chain that was left.
                pass
            case _:
                raise wire.WireError("a message that no worker sends")

    def send(self, message: wire.Message) -> bool:
        """Tell the worker, now or never: False when it is not there, or does not listen."""
        return self._channel is not None and self._channel.send(message)

    # --- the chain

    def _not_asked(self) -> NotifierChain:
        """Nothing is registered; or it should be, and the worker is not there."""
        if not self._settings.plan or self._idle or self._nobody:
            return NotifierChain()
        why = "not running"
        if self._faults >= wire.FAULTS:
            why = f"not running: {wire.FAULTS} faults, off until a reload"
        elif self._channel is not None:
            why = "nobody has registered with it yet"
        return NotifierChain((Notified("worker", 0, 0, why),), True)

    def call(self, trigger: str, look: Look) -> NotifierChain:
        """``blocking_notifier_call_chain(&oom_notify_list)``, with an end. Raises nothing."""
        if self._channel is None or not self.count:
            return self._not_asked()
        self._stormed = True
        if self._behind:
            left = Notified("worker", 0, 0, "left behind by an earlier chain, not called")
            return NotifierChain((left,), True)
        self._seq += 1
        deadline_ms = self._settings.chain_deadline_ms
        self._behind = True
        self._behind_until_ms = self._now_ms() + deadline_ms + RETRY_MS
        if not self._channel.send(question(self._seq, trigger, look, deadline_ms)):
            return NotifierChain((Notified("worker", 0, 0, "does not listen"),), True)
        asked = Asked(self._root, self._channel, self._seq, self._heard)
        end_ms = self._now_ms() + deadline_ms
        try:
            why = asked.wait(end_ms, self._now_ms, look.meminfo.mem_available_kib // 2)
        except wire.WireError as error:
            self._fault(f"has sent {error}")
            why = "talks nonsense"
        self._behind = self._behind and bool(why)
        self._see_its_end()
        results = asked.results
        if why:
            results.append(Notified("worker", 0, 0, why))
        freed_pages = sum(one.claimed_pages for one in results)
        return NotifierChain(tuple(results), True, freed_pages)
