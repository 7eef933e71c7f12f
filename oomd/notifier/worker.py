"""The worker: asks everybody who can free memory, so that the sentinel need not know them.

``python -I -m oomd.notifier.worker --channel FD --listen FD --plan FD``, started by the sentinel.
An ordinary process, and an ordinary candidate. One thread does everything but the built-in
releasers' work; it sleeps until somebody speaks or something is due.
"""

import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from oomd import wire
from oomd.bootstrap import limit_data
from oomd.log import ERR, INFO, WARNING, Log
from oomd.notifier import OomEvent
from oomd.notifier.builtin import make
from oomd.notifier.chain import OomNotifier, OomNotifyList, Result
from oomd.notifier.gauge import Gauge
from oomd.notifier.hooks import Hooks
from oomd.notifier.hosts import Hosts
from oomd.notifier.plan import Plan, PlanError, parse_plan
from oomd.notifier.server import Server, described
from oomd.notifier.threads import STACK_BYTES, ParkedReleaser
from oomd.notifier.waiting import SentinelGone, Waiter
from oomd.notifier.workshop import Workshop
from oomd.proc.root import ReadError, WritableRoot

__all__ = ["Worker", "main"]

EXIT_OK = 0
EXIT_TOLD = 1
EXIT_USAGE = 2
USAGE = "usage: python3 -m oomd.notifier.worker --channel FD --listen FD --plan FD"

# With nobody to ask and nothing to watch for so long, there is no need for us.
IDLE_S = 10.0
# After SIGTERM: when all of oomd is told to stop, the sentinel goes first and we with it.
TERM_S = 1.0
# What built-in releasers may take to put things right when we end.
CLOSE_S = 1.0

DATA_BYTES = 256 << 20
# An address space with this much more than is held: rlimits count what is mapped.
_MIB = 1 << 20

# Of a plan: what comes close to it is not one.
PLAN_BYTES = 1 << 20


def set_limits(plan: Plan) -> None:
    """RLIMIT_DATA for us and what the balloon is to hold; as many descriptors as there may be."""
    held_mib = 0
    for one in plan.builtin:
        size_mib = one.options.get("size_mib", 0)
        if one.name == "balloon" and isinstance(size_mib, int):
            held_mib += size_mib
    data_bytes = DATA_BYTES + held_mib * _MIB
    # A plugin's process may have more than we do, and inherits what may be asked for at most.
    limit_data(data_bytes, max(data_bytes, plan.plugin_memory_mib * _MIB))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Worker:
    """Everything that runs in the process, wired together."""

    def __init__(self, plan: Plan, channel_fd: int, listen_fd: int, plan_fd: int) -> None:
        self._root = WritableRoot()
        self._log = Log()
        self._channel = socket.socket(fileno=channel_fd)
        self._channel.setblocking(False)
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._waiter = Waiter(channel_fd)
        gauge = Gauge(self._root)
        # Registered in the order of the plan; clients after that, as they come.
        planned = len(plan.builtin) + len(plan.plugins)
        self._notifiers = OomNotifyList(gauge.look, planned)
        shop = Workshop(
            plan, self._notifiers, self._selector, self._waiter, self._log.say, gauge.most_bytes
        )
        self._shop = shop
        self._builtin: list[ParkedReleaser] = []
        self._hosts = Hosts(shop, plan_fd)
        self._server = Server(shop, listen_fd, self._run_one, self._unnamed)
        self._hooks = Hooks(self._root, plan.hooks, self._log.say) if plan.hooks else None
        self._watching = False
        # Where nobody is here to register, that is told, too.
        self._count = -1 if plan.hooks and not planned else 0
        self._idle_since: float | None = None
        self._ends: float | None = None
        self._selector.register(channel_fd, selectors.EVENT_READ, self._hear)

    # --- the start

    def _catch_signals(self) -> None:
        """SIGCHLD and SIGTERM end the sleep. Nobody is collected but by its pid."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)

        def on_signal() -> None:
            if signal.SIGTERM in os.read(read_fd, 4096) and self._ends is None:
                self._ends = time.monotonic() + TERM_S
            self._hosts.collect()

        self._selector.register(read_fd, selectors.EVENT_READ, on_signal)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)

    def start(self) -> None:
        """Start everybody. What cannot be started is said, and left out."""
        self._catch_signals()
        # The plugins' interpreters come up while the built-in ones take their memory.
        self._hosts.start()
        threading.stack_size(STACK_BYTES)
        for place, entry in enumerate(self._plan.builtin):
            try:
                releaser = make(entry.name, entry.options, self._root)
                one = ParkedReleaser(self._shop, releaser, entry)
                one.start()
                self._notifiers.register(one, place)
            except (OSError, ReadError, ValueError) as error:
                self._log.say(ERR, f"{entry.name}: {error}; it is left out")
                continue
            one.calm()
            self._builtin.append(one)
        if self._hooks is not None:
            self._hooks.start()
        if self._plan.watch_devices:
            self._watch_devices()
        self._tell_count()

    def _watch_devices(self) -> None:
        # Imported here: udev and its bindings only where they are wanted.
        from oomd.notifier.devices import Devices  # noqa: PLC0415

        devices = Devices(self._root, lambda text: self._log.say(WARNING, text))
        for line in devices.present():
            self._log.say(INFO, f"watched: {line}")

        def changed() -> None:
            for what in devices.events():
                self._tell({"op": "changed", "what": what[:300]})

        self._selector.register(devices.fileno(), selectors.EVENT_READ, changed)
        self._watching = True

    def _unnamed(self) -> Iterator[OomNotifier]:
        return iter(self._hosts.unnamed())

    # --- the sentinel

    def _tell(self, message: wire.Message) -> None:
        """Raises SentinelGone."""
        try:
            self._channel.send(wire.encode(message))
        except BlockingIOError:
            # It waits for nobody, and nobody waits for it.
            self._log.say(WARNING, f'the guard does not listen: "{message["op"]}" is lost')
        except ConnectionError:
            raise SentinelGone from None
        except OSError as error:
            # No memory for a message, for one: that is not the end.
            self._log.say(
                WARNING, f'the guard cannot be told: {error.strerror}; "{message["op"]}" is lost'
            )

    def _tell_count(self) -> None:
        if len(self._notifiers) != self._count:
            self._count = len(self._notifiers)
            names = ", ".join(f"{one.name} ({one.priority})" for one in self._notifiers)
            self._log.say(INFO, f"notifiers, by priority: {names or 'none'}")
            self._tell({"op": "registered", "count": self._count})

    def _hear(self) -> None:
        """One message of the sentinel's. Raises SentinelGone."""
        try:
            data = self._channel.recv(wire.MAX_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise SentinelGone
        try:
            message = wire.decode(data)
            match message["op"]:
                case "oom":
                    self._call_chain(message)
                case "calm":
                    self._end_storm()
                case "hook" if self._hooks is not None:
                    self._hooks.hear(message)
        except wire.WireError as error:
            self._log.say(ERR, f"the guard has sent {error}: oomd of one version? Restart it")

    def _call_chain(self, message: wire.Message) -> None:
        """``oom``: ask everybody. Raises WireError or SentinelGone."""
        seq = wire.integer(message, "seq")
        event = OomEvent(
            wire.integer(message, "wanted_bytes"),
            time.monotonic() + wire.integer(message, "deadline_ms") / 1000,
            wire.text(message, "reason"),
            wire.text(message, "constraint"),
        )
        self._hosts.begin_storm()
        self._server.begin_chain()
        for one in self._builtin:
            one.storm()
        for result in self._notifiers.call(event):
            about = {"seq": seq, "name": result.name, "priority": result.priority}
            self._tell({"op": "result", **about, **described(result)})
        self._tell({"op": "done", "seq": seq})

    def _end_storm(self) -> None:
        self._hosts.end_storm()
        self._server.end_storm()
        for one in self._builtin:
            one.calm()

    def _run_one(self, one: OomNotifier, wanted_bytes: int) -> Result:
        """Call one notifier because a person asks for it. The sentinel comes first."""
        end = time.monotonic() + one.deadline_ms / 1000
        self._waiter.by_hand = True
        try:
            event = OomEvent(wanted_bytes, end, "manual", "CONSTRAINT_NONE")
            return self._notifiers.call_one(one, event)
        finally:
            self._waiter.by_hand = False

    # --- the loop

    def run(self) -> int:
        """Work until the sentinel goes, or nobody needs us. Returns the exit status."""
        try:
            self.start()
            going_on = self._settle(time.monotonic())
            while going_on:
                going_on = self._turn()
            if self._ends is not None:
                return EXIT_TOLD
            self._log.say(INFO, "the worker ends: nobody has registered")
            return wire.EXIT_IDLE
        except SentinelGone:
            pass
        finally:
            self._close()
        return EXIT_OK

    def _next_due(self) -> float | None:
        due = [self._ends, *(one.due for one in self._builtin)]
        due += [self._hosts.next_due(), self._server.next_due()]
        if self._idle_since is not None:
            due.append(self._idle_since + IDLE_S)
        return min((when for when in due if when is not None), default=None)

    def _turn(self) -> bool:
        """Sleep, and do what there is to do. False: there is nothing left to wait for."""
        due = self._next_due()
        timeout = None if due is None else max(0.0, due - time.monotonic())
        ready = self._selector.select(timeout)
        # The sentinel first, and again before each of the others.
        ready.sort(key=lambda one: one[0].fd != self._channel.fileno())
        for key, _ in ready:
            if key.fd != self._channel.fileno() and self._waiter.hears():
                break
            # Whoever came before may have closed this one, and its number may be another's now.
            if self._selector.get_map().get(key.fd) == key:
                on_ready: Callable[[], None] = key.data
                on_ready()
        now = time.monotonic()
        self._hosts.tick(now)
        self._server.tick(now)
        for one in self._builtin:
            one.tick(now)
        return self._settle(now)

    def _settle(self, now: float) -> bool:
        """After the start and after each turn. False: there is nothing left to wait for."""
        if self._ends is not None and now >= self._ends:
            return False
        if self._hosts.introduced:
            # Not before: a client could take a plugin's name.
            self._server.open()
        self._tell_count()
        return self._needed(now)

    def _needed(self, now: float) -> bool:
        busy = len(self._notifiers) or len(self._server) or self._watching or self._plan.plugins
        busy = busy or self._hooks is not None
        if busy:
            self._idle_since = None
            return True
        if self._idle_since is None:
            self._idle_since = now
        return now < self._idle_since + IDLE_S

    def _close(self) -> None:
        """End everything that we have started."""
        self._hosts.close()
        end = time.monotonic() + CLOSE_S
        for one in self._builtin:
            one.close(end)


def _read_plan(fd: int) -> Plan:
    """Raises PlanError."""
    try:
        data = os.pread(fd, PLAN_BYTES, 0)
    except OSError as error:
        raise PlanError(f"the worker's plan cannot be read: {error.strerror}") from None
    return parse_plan(data)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the worker. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        given = dict(zip(words[::2], words[1::2], strict=True))
        fds = [int(given.pop(option)) for option in ("--channel", "--listen", "--plan")]
    except (KeyError, ValueError):
        given = {"": ""}
    if given:
        sys.stderr.write(f"oomd: {USAGE}\n")
        return EXIT_USAGE
    for fd in fds:
        if fd >= 0:
            # Only the plan is handed on, and only to hosts.
            os.set_inheritable(fd, False)
    try:
        plan = _read_plan(fds[2])
    except PlanError as error:
        Log().say(ERR, str(error))
        return EXIT_USAGE
    set_limits(plan)
    return Worker(plan, *fds).run()


if __name__ == "__main__":
    code = main()
    # At once: a releaser's thread may be stuck in the kernel.
    os._exit(code)
