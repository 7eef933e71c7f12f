"""The sentinel: wires watching, deciding and acting together, and runs the loop.

Standard library only, and little of that: its memory is locked. Everything comfortable (TOML,
the journal) runs in short-lived helpers, before the storm or after it.
"""

import os
import sys
import time

from oomd import __version__
from oomd.announcer import Announcer
from oomd.clock import monotonic_ms
from oomd.control.chronicle import Chronicle
from oomd.control.desk import open_desk
from oomd.effects.act import Executor
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.protect import freeze_gc, keep_heap, stay_alive, touch_spare
from oomd.effects.reserve import Reserve
from oomd.effects.syscalls import describe, probe
from oomd.first_settings import first_settings
from oomd.guard import Guard
from oomd.helpers import Helpers
from oomd.log import ERR, INFO, NOTICE, WARNING, Log, place_of
from oomd.message_ids import MESSAGE_IDS
from oomd.mm.policy import policy_for
from oomd.mm_types import TaskId
from oomd.notifier.worker_process import WorkerProcess
from oomd.proc.namespace import CONTAINED, in_container
from oomd.proc.probe import probe as machine_probe
from oomd.proc.rivals import running_rivals
from oomd.proc.root import ReadError, WritableRoot
from oomd.proc.snapshot import CannotDecide
from oomd.proc.sysctl import read_sysctls
from oomd.proc.task import read_task
from oomd.proc.vmstat import read_oom_kill
from oomd.report.words import machine_words, panic_words, threshold_words
from oomd.sd_notify import SdNotify
from oomd.settings import Settings
from oomd.settings_loader import SettingsLoader
from oomd.signals import Signals
from oomd.teller import Teller
from oomd.typed import Sequence
from oomd.watch import Watch

__all__ = ["Daemon", "main"]

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_CONTAINED = 3
USAGE = "usage: oomd [--config FILE] [--container]"

# After an internal error the loop goes on, this much later.
DEFECT_MS = 100
# How long the last records are waited for when we stop.
LAST_WORDS_MS = 3000


class Daemon:
    """Everything that runs in the one process, wired together."""

    def __init__(self, root: WritableRoot, config_file: str | None = None) -> None:
        self._root = root
        self._log = Log()
        self._notify = SdNotify()
        self._helpers = Helpers()
        self._teller = Teller(self._helpers, self._log)
        self._chronicle = Chronicle(self._teller.tell)
        # systemd's RuntimeDirectory=. Run by hand, nothing is kept and nothing is inherited.
        kept = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0].strip("/")
        last_good = f"{kept}/settings" if kept else ""
        self._loader = SettingsLoader(self._helpers, root, config_file, last_good)
        self._pinged_ms = 0
        self._said_lost = 0
        self._was_calm = True
        self._kernel_kills = read_oom_kill(root)

        # First what keeps us alive while the rest is done.
        self._signals = Signals()
        for words in stay_alive(root):
            self._say(INFO, words)
        self._settings = first_settings(self._loader, self._helpers, self._signals, self._say)
        self._teller.kept = self._settings.records
        self._reaper = self._start_reaper()
        listens = f"/{kept}/notify.sock" if kept else ""
        self._worker = WorkerProcess(root, self._say, monotonic_ms, listens)
        self._announcer = Announcer(self._chronicle.tell, self._worker.send, self._say_event)
        own = read_task(root, os.getpid(), root.page_size_bytes())
        self._act = Executor(
            root,
            self._settings,
            self._announcer.tell,
            lambda text: self._say(WARNING, text),
            reaper=self._reaper,
            chain=self._worker.call,
            spared=frozenset((own.ident,)) if own is not None else frozenset[TaskId](),
            say_event=self._say_event,
            reserve=Reserve(),
        )
        self._desk = open_desk(
            root,
            f"/{kept}/control.sock" if kept else "",
            act=self._act,
            worker=self._worker,
            chronicle=self._chronicle,
            teller=self._teller,
            log=self._log,
            notify=self._notify,
            config_file=config_file,
        )
        self._teller.series = self._desk.series
        self._watch, self._guard = self._wire(self._settings)

    def _start_reaper(self) -> OomReaper | None:
        # Started whatever the settings say: a reload may want it.
        abilities = probe()
        self._say(INFO, describe(abilities))
        if not abilities.process_mrelease or (reaper := OomReaper()).start():
            return None
        return reaper

    # --- settings

    def _wire(self, settings: Settings) -> tuple[Watch, Guard]:
        policy = policy_for(settings.policy, self._root.kernel_release())
        watch = Watch(self._root, settings, os.cpu_count() or 1)
        guard = Guard(self._root, settings, policy, watch, self._act)
        guard.in_the_calm = self._announcer.configure(settings)
        self._longest_ms = self._notify.watchdog_ms // 2 or guard.longest_ms
        self._desk.configure(settings, watch, guard)
        fds = [self._signals.fd, self._loader.fd]
        if self._reaper is not None:
            fds.append(self._reaper.fileno())
        for fd in fds:
            if fd >= 0:
                watch.register(fd)
        return watch, guard

    def _begin_reload(self) -> None:
        self._notify.reloading()
        try:
            self._loader.begin()
            self._watch.register(self._loader.fd)
        except OSError as error:
            self._say(ERR, f"reload: cannot start the helper: {error.strerror}; nothing changed")
            self._chronicle.reloads_failed += 1
            words = "guarding with the settings from before"
            self._notify.ready(self._desk.status_words(words))

    def _end_reload(self, loaded: Settings | str) -> None:
        if isinstance(loaded, str):
            self._say(ERR, f"reload: {loaded}; the settings from before stay in force")
            self._chronicle.reloads_failed += 1
            words = "guarding; the last reload failed, see the log"
            self._notify.ready(self._desk.status_words(words))
            return
        calm = self._guard.calm and not self._act.in_flight.busy
        self._guard.close()
        self._settings = loaded
        self._act.configure(loaded)
        self._teller.kept = loaded.records
        self._worker.configure(loaded.notifiers, calm=calm)
        self._watch, self._guard = self._wire(loaded)
        self._say(NOTICE, f"reloaded: {threshold_words(loaded)}")
        self._chronicle.reloads += 1
        self._notify.ready(self._desk.status_words(threshold_words(loaded)))

    # --- saying

    def _say(self, priority: int, text: str) -> None:
        self._chronicle.errors += priority <= ERR
        self._log.say(priority, text)

    def _say_event(self, event: str, text: str) -> None:
        self._log.say(WARNING, text, MESSAGE_IDS[event])

    def _introduce(self) -> None:
        sysctls = read_sysctls(self._root)
        policy = policy_for(self._settings.policy, self._root.kernel_release())
        kernel = self._root.kernel_release()
        self._say(NOTICE, f"oomd {__version__}, policy {policy.name}, kernel {kernel}")
        self._say(INFO, threshold_words(self._settings))
        machine = machine_words(machine_probe(self._root))
        for words in (machine, *panic_words(self._settings, sysctls), *self._watch.notes):
            self._say(INFO, words)
        if rivals := ", ".join(running_rivals(self._root, os.getpid())):
            self._say(WARNING, f"{rivals} runs here too: each may kill while the other waits")

    # --- the loop

    def prepare(self) -> None:
        """Be ready for the worst: introduced, rehearsed, all of it in locked memory."""
        self._introduce()
        self._say(INFO, keep_heap())
        calm = False
        try:
            event = self._guard.rehearse()
            calm = event.look.crossed is None
            self._act.rehearse(event)
            read = event.snapshot
            self._say(INFO, f"rehearsed: {read.tasks_seen} tasks in {read.scan_us} us")
        except (ReadError, CannotDecide) as error:
            self._say(ERR, f"the rehearsal failed: {error}")
        self._desk.rehearse()
        self._worker.configure(self._settings.notifiers, calm=calm)
        self._say(INFO, freeze_gc())
        touch_spare()

    def run(self) -> int:
        """Guard until told to stop."""
        self.prepare()
        self._notify.ready(threshold_words(self._settings))
        self._say(NOTICE, "guarding")
        while not self._signals.stop:
            self._turn()
        self._notify.send("STOPPING=1")
        self._desk.close()
        self._worker.close()
        self._tell_the_rest()
        self._say(NOTICE, "stopped")
        return EXIT_OK

    def _tell_the_rest(self) -> None:
        end_ms = monotonic_ms() + LAST_WORDS_MS
        # Both at once: what the worker's releasers put right takes a moment, too.
        while not (self._worker.gone and self._teller.done) and monotonic_ms() < end_ms:
            self._teller.hurry()
            self._teller.flush(monotonic_ms(), calm=True)
            time.sleep(0.01)
            for pid, exit_code in self._helpers.collect():
                self._teller.ended(pid, exit_code)

    def _turn(self) -> None:
        """A turn of the loop. A defect of ours costs that turn and never the guard."""
        try:
            if self._signals.asked:
                self._signals.asked = False
                self._guard.ask()
            self._desk.end_pause()
            self._guard.fds = (*self._worker.fds(), *self._desk.fds())
            self._guard.longest_ms = self._desk.longest_ms(self._longest_ms)
            self._guard.dozes = self._at_rest()
            readable = self._guard.turn()
            self._chronicle.wakeups += 1 + self._watch.glances
            self._attend(readable)
        except Exception as error:
            self._say(ERR, f"internal error at {place_of(error)}: {error!r}; still on guard")
            # Not at once: what fails every time must not keep a processor busy.
            time.sleep(DEFECT_MS / 1000)

    def _at_rest(self) -> bool:
        """Nothing is under way that a turn of the loop sees to."""
        return (
            self._teller.done
            and self._helpers.idle
            and self._worker.at_rest
            and self._act.in_flight.idle
            and not (self._signals.hung_up or self._loader.loading)
        )

    def _attend(self, readable: tuple[int, ...]) -> None:
        for fd in readable:
            if fd == self._signals.fd:
                self._signals.drain()
            elif fd == self._loader.fd:
                self._watch.unregister(fd)
                if not self._loader.read():
                    self._watch.register(fd)
        for error in self._guard.errors:
            self._say(ERR, error)
        for note in self._guard.notes:
            self._say(NOTICE, note)
        self._guard.errors.clear()
        self._guard.notes.clear()
        self._chronicle.saved += self._guard.saved
        self._guard.saved = 0
        # A helper takes memory and the disk: none is started while somebody is dying.
        settled = not self._act.in_flight.busy
        self._collect()
        # After that: a second SIGHUP has waited for the first, and should not wait for a turn.
        if self._signals.hung_up and settled and not self._loader.loading:
            if self._loader.affordable:
                self._signals.hung_up = False
                self._begin_reload()
        if self._guard.calm and not self._was_calm:
            self._see_the_kernel()
        self._was_calm = self._guard.calm
        self._worker.attend(calm=self._guard.calm and settled)
        for what in self._worker.changed:
            self._say(INFO, f"{what}: memory is looked at again")
        self._worker.changed.clear()
        # Blind, nobody knows when it is calm again.
        calm = self._guard.calm or self._guard.blind
        # What comes of it is seen first, so that the record can show it.
        seen = not self._chronicle.fresh(monotonic_ms())
        # With little memory left, a helper would be what costs the next one its life.
        room = self._teller.done or (self._guard.roomy and self._loader.affordable)
        self._teller.flush(monotonic_ms(), calm=settled and calm and seen and room)
        self._desk.attend(readable)
        self._ping(monotonic_ms())

    def _see_the_kernel(self) -> None:
        """After a storm: was the kernel's own killer there first?"""
        kills = read_oom_kill(self._root)
        if kills is not None and self._kernel_kills is not None and kills > self._kernel_kills:
            count = kills - self._kernel_kills
            self._say_event(
                "kernel_killed",
                f"the kernel's own OOM killer has killed {count} processes meanwhile",
            )
        self._kernel_kills = kills

    def _collect(self) -> None:
        for pid, exit_code in self._helpers.collect():
            self._teller.ended(pid, exit_code)
            fd, loaded = self._loader.fd, self._loader.ended(pid, exit_code)
            if loaded is not None:
                if fd >= 0:
                    self._watch.unregister(fd)
                self._end_reload(loaded)
        if self._teller.lost > self._said_lost:
            self._said_lost = self._teller.lost
            self._say(WARNING, f"{self._said_lost} records were lost in long storms so far")

    def _ping(self, now_ms: int) -> None:
        if self._notify.watchdog_ms and now_ms - self._pinged_ms > self._notify.watchdog_ms // 4:
            self._pinged_ms = now_ms
            self._notify.watchdog()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon on the live machine. Returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    config_file = None
    if args[:1] == ["--config"] and len(args) > 1:
        config_file = args[1]
        del args[:2]
    contained = args[:1] == ["--container"]
    if args[contained:]:
        sys.stderr.write(f"oomd: unknown argument {args[contained]!r}; {USAGE}\n")
        return EXIT_USAGE
    root = WritableRoot()
    # The memory is the machine's: whoever used it up may be outside, and the innocent would die.
    if not contained and in_container(root):
        sys.stderr.write(
            f"oomd: {CONTAINED}: guard the machine from outside, or with its PID namespace "
            "(hostPID); oomd --container guards what can be seen, and nothing else\n"
        )
        return EXIT_CONTAINED
    return Daemon(root, config_file).run()
