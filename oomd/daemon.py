"""The sentinel: wires watching, deciding and acting together, and runs the loop.

Standard library only, and little of that: its memory is locked. Everything comfortable (TOML,
the journal) runs in short-lived helpers, before the storm or after it.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Sequence

from oomd import __version__
from oomd.effects.act import Executor
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.protect import exempt_from_oom, freeze_gc, lock_memory, raise_nofile
from oomd.effects.syscalls import describe, probe
from oomd.guard import Guard, monotonic_ms
from oomd.helpers import Helpers
from oomd.log import ERR, INFO, NOTICE, WARNING, Log
from oomd.mm.policy import policy_for
from oomd.mm_types import TaskId
from oomd.notifier.worker_process import WorkerProcess
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
from oomd.teller import Teller
from oomd.watch import Watch

__all__ = ["Daemon", "main"]

EXIT_OK = 0
EXIT_USAGE = 2
USAGE = "usage: oomd [--config FILE]"

# After an internal error the loop goes on, this much later.
DEFECT_MS = 100
# How long the first settings are waited for, and the last records when we stop.
FIRST_SETTINGS_MS = 5000
LAST_WORDS_MS = 3000


class Daemon:
    """Everything that runs in the one process, wired together."""

    def __init__(self, root: WritableRoot, config_file: str | None = None) -> None:
        self._root = root
        self._log = Log()
        self._notify = SdNotify()
        self._helpers = Helpers()
        self._teller = Teller(self._helpers, self._log)
        # systemd's RuntimeDirectory=. Run by hand, nothing is kept and nothing is inherited.
        kept = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0].strip("/")
        last_good = f"{kept}/settings" if kept else ""
        self._loader = SettingsLoader(self._helpers, root, config_file, last_good)
        self._stop = False
        self._hung_up = False
        self._asked = False
        self._pinged_ms = 0
        self._said_lost = 0
        self._was_calm = True
        self._kernel_kills = read_oom_kill(root)

        # First what keeps us alive while the rest is done.
        self._wake_fd = self._catch_signals()
        for words in (exempt_from_oom(root), raise_nofile(), lock_memory()):
            self._say(INFO, words)
        self._settings = self._first_settings()
        self._teller.kept = self._settings.records
        self._reaper = self._start_reaper()
        listens = f"/{kept}/notify.sock" if kept else ""
        self._worker = WorkerProcess(root, self._say, monotonic_ms, listens)
        own = read_task(root, os.getpid(), root.page_size_bytes())
        self._act = Executor(
            root,
            self._settings,
            self._teller.tell,
            lambda text: self._say(WARNING, text),
            reaper=self._reaper,
            chain=self._worker.call,
            spared=frozenset((own.ident,)) if own is not None else frozenset[TaskId](),
        )
        self._watch, self._guard = self._wire(self._settings)

    def _start_reaper(self) -> OomReaper | None:
        # Started whatever the settings say: a reload may want it.
        abilities = probe()
        self._say(INFO, describe(abilities))
        if not abilities.process_mrelease:
            return None
        reaper = OomReaper()
        return None if reaper.start() else reaper

    # --- settings

    def _first_settings(self) -> Settings:
        """What the files say; else what the last daemon had; else the defaults."""
        try:
            # An ordinary process: on a busy machine a nice one takes seconds, and all wait for it.
            self._loader.begin(nice=0)
        except OSError as error:
            self._say(ERR, f"cannot start the configuration helper: {error.strerror}")
            return self._loader.last_good() or Settings()
        # Nothing is guarded yet: worth a wait, but not for ever. A late answer is a reload.
        end_ms = monotonic_ms() + FIRST_SETTINGS_MS
        while self._loader.loading and monotonic_ms() < end_ms and not self._stop:
            if self._loader.fd >= 0:
                left_s = max(end_ms - monotonic_ms(), 0) / 1000
                ready, _, _ = select.select([self._loader.fd, self._wake_fd], [], [], left_s)
                if self._wake_fd in ready:
                    os.read(self._wake_fd, 4096)
                self._loader.read()
            else:
                time.sleep(0.002)
            for pid, exit_code in self._helpers.collect():
                loaded = self._loader.ended(pid, exit_code)
                if isinstance(loaded, Settings):
                    return loaded
                if loaded:
                    self._say(ERR, loaded)
        kept = self._loader.last_good()
        if kept is not None:
            self._say(WARNING, "guarding with the settings that were last in force")
            return kept
        self._say(WARNING, "guarding with the defaults")
        return Settings()

    def _wire(self, settings: Settings) -> tuple[Watch, Guard]:
        policy = policy_for(settings.policy, self._root.kernel_release())
        watch = Watch(self._root, settings, os.cpu_count() or 1)
        guard = Guard(self._root, settings, policy, watch, self._act)
        if self._notify.watchdog_ms:
            guard.longest_ms = self._notify.watchdog_ms // 2
        fds = [self._wake_fd, self._loader.fd]
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
            self._notify.ready("guarding with the settings from before")

    def _end_reload(self, loaded: Settings | str) -> None:
        if isinstance(loaded, str):
            self._say(ERR, f"reload: {loaded}; the settings from before stay in force")
            self._notify.ready("guarding; the last reload failed, see the log")
            return
        calm = self._guard.calm and not self._act.in_flight.busy
        self._guard.close()
        self._settings = loaded
        self._act.configure(loaded)
        self._teller.kept = loaded.records
        self._worker.configure(loaded.notifiers, calm=calm)
        self._watch, self._guard = self._wire(loaded)
        self._say(NOTICE, f"reloaded: {threshold_words(loaded)}")
        self._notify.ready(threshold_words(loaded))

    # --- saying

    def _say(self, priority: int, text: str) -> None:
        self._log.say(priority, text)

    def _introduce(self) -> None:
        sysctls = read_sysctls(self._root)
        policy = policy_for(self._settings.policy, self._root.kernel_release())
        kernel = self._root.kernel_release()
        self._say(NOTICE, f"oomd {__version__}, policy {policy.name}, kernel {kernel}")
        self._say(INFO, threshold_words(self._settings))
        says = panic_words(self._settings, sysctls)
        for words in (machine_words(machine_probe(self._root)), *says, *self._watch.notes):
            self._say(INFO, words)
        rivals = running_rivals(self._root, os.getpid())
        if rivals:
            names = ", ".join(rivals)
            self._say(WARNING, f"{names} runs here too: each may kill while the other waits")

    # --- signals

    def _on_signal(self, signum: int, frame: object) -> None:
        if signum == signal.SIGHUP:
            self._hung_up = True
        elif signum == signal.SIGUSR1:
            self._asked = True
        elif signum != signal.SIGCHLD:
            self._stop = True

    def _catch_signals(self) -> int:
        """The descriptor that a signal makes readable."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for signum in (
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGCHLD,
        ):
            signal.signal(signum, self._on_signal)
        return read_fd

    # --- the loop

    def prepare(self) -> None:
        """Be ready for the worst: introduced, rehearsed, all of it in locked memory."""
        self._introduce()
        calm = False
        try:
            event = self._guard.rehearse()
            calm = event.look.crossed is None
            self._act.rehearse(event)
            seen, scan_us = event.snapshot.tasks_seen, event.snapshot.scan_us
            self._say(INFO, f"rehearsed: {seen} tasks in {scan_us} us")
        except (ReadError, CannotDecide) as error:
            self._say(ERR, f"the rehearsal failed: {error}")
        self._worker.configure(self._settings.notifiers, calm=calm)
        self._say(INFO, freeze_gc())

    def run(self) -> int:
        """Guard until told to stop."""
        self.prepare()
        self._notify.ready(threshold_words(self._settings))
        self._say(NOTICE, "guarding")
        while not self._stop:
            self._turn()
        self._notify.send("STOPPING=1")
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
            if self._asked:
                self._asked = False
                self._guard.ask()
            self._guard.fds = self._worker.fds()
            self._attend(self._guard.turn())
        except Exception as error:
            self._say(ERR, f"internal error at {_place(error)}: {error!r}; still on guard")
            # Not at once: what fails every time must not keep a processor busy.
            time.sleep(DEFECT_MS / 1000)

    def _attend(self, readable: tuple[int, ...]) -> None:
        for fd in readable:
            if fd == self._wake_fd:
                os.read(fd, 4096)
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
        # A helper takes memory and the disk: none is started while somebody is dying.
        settled = not self._act.in_flight.busy
        self._collect()
        # After that: a second SIGHUP has waited for the first, and should not wait for a turn.
        if self._hung_up and settled and not self._loader.loading:
            self._hung_up = False
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
        self._teller.flush(monotonic_ms(), calm=settled and calm)
        self._ping(monotonic_ms())

    def _see_the_kernel(self) -> None:
        """After a storm: was the kernel's own killer there first?"""
        kills = read_oom_kill(self._root)
        if kills is not None and self._kernel_kills is not None and kills > self._kernel_kills:
            count = kills - self._kernel_kills
            self._say(
                WARNING, f"the kernel's own OOM killer has killed {count} processes meanwhile"
            )
        self._kernel_kills = kills

    def _collect(self) -> None:
        for pid, exit_code in self._helpers.collect():
            self._teller.ended(pid, exit_code)
            fd = self._loader.fd
            loaded = self._loader.ended(pid, exit_code)
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


def _place(error: BaseException) -> str:
    # In a function of its own: a frame kept beside its error is a cycle, and nobody collects.
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "?"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon on the live machine. Returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    config_file = None
    if len(args) == 2 and args[0] == "--config":
        config_file = args[1]
    elif args:
        sys.stderr.write(f"oomd: unknown argument {args[0]!r}; {USAGE}\n")
        return EXIT_USAGE
    return Daemon(WritableRoot(), config_file).run()
