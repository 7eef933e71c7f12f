"""The sentinel: wires watching, deciding and acting together, and runs the loop.

Standard library only, and little of that: its memory is locked. Everything comfortable (TOML,
the journal) runs in short-lived helpers, before the storm or after it.
"""

import os
import select
import signal
import sys
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
from oomd.proc.rivals import running_rivals
from oomd.proc.root import ReadError, WritableRoot
from oomd.proc.snapshot import CannotDecide
from oomd.proc.sysctl import read_sysctls
from oomd.proc.task import read_task
from oomd.report.words import panic_words, threshold_words
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


class Daemon:
    """Everything that runs in the one process, wired together."""

    def __init__(self, root: WritableRoot, config_file: str | None = None) -> None:
        self._root = root
        self._log = Log()
        self._notify = SdNotify()
        self._helpers = Helpers()
        self._teller = Teller(self._helpers, self._log)
        self._loader = SettingsLoader(self._helpers, root, config_file)
        self._stop = False
        self._hung_up = False
        self._wake_fd = -1
        self._pinged_ms = 0
        self._polled: frozenset[int] = frozenset()

        settings = self._first_settings()
        self._settings = settings
        abilities = probe()
        self._say(INFO, describe(abilities))
        reaper = None
        if abilities.process_mrelease and settings.kill.process_mrelease:
            reaper = OomReaper()
            if reaper.start():
                reaper = None
        own = read_task(root, os.getpid(), root.page_size_bytes())
        spared = frozenset((own.ident,)) if own is not None else frozenset[TaskId]()
        self._act = Executor(
            root,
            settings,
            self._teller.tell,
            lambda text: self._say(WARNING, text),
            reaper=reaper,
            spared=spared,
        )
        self._watch, self._guard = self._wire(settings)
        if reaper is not None:
            self._watch.register(reaper.fileno())
        self._reaper = reaper

    # --- settings

    def _first_settings(self) -> Settings:
        """What the files say; else what the last daemon had; else the defaults."""
        try:
            self._loader.begin()
        except OSError as error:
            self._say(ERR, f"cannot start the configuration helper: {error.strerror}")
            return self._loader.last_good() or Settings()
        while self._loader.loading:
            # Nothing is guarded yet, so this one time there is nothing better to do than wait.
            if self._loader.fd >= 0:
                select.select([self._loader.fd], [], [])
                self._loader.read()
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
        if self._wake_fd >= 0:
            watch.register(self._wake_fd)
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
        self._watch.close()
        self._settings = loaded
        self._act.configure(loaded)
        self._polled = frozenset()
        self._watch, self._guard = self._wire(loaded)
        if self._reaper is not None:
            self._watch.register(self._reaper.fileno())
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
        for words in (*panic_words(self._settings, sysctls), *self._watch.notes):
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
            self._guard.ask()
        elif signum != signal.SIGCHLD:
            self._stop = True

    def _catch_signals(self) -> None:
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
        self._wake_fd = read_fd
        self._watch.register(read_fd)

    # --- the loop

    def prepare(self) -> None:
        """Be ready for the worst: exempt, rehearsed, locked in memory."""
        self._introduce()
        self._catch_signals()
        for words in (exempt_from_oom(self._root), raise_nofile(), lock_memory()):
            self._say(INFO, words)
        try:
            event = self._guard.rehearse()
            self._say(
                INFO, f"rehearsed: {event.snapshot.tasks_seen} tasks in {event.snapshot.scan_us} us"
            )
        except (ReadError, CannotDecide) as error:
            self._say(ERR, f"the rehearsal failed: {error}")
        self._say(INFO, freeze_gc())

    def run(self) -> int:
        """Guard until told to stop."""
        self.prepare()
        self._notify.ready(threshold_words(self._settings))
        self._say(NOTICE, "guarding")
        while not self._stop:
            self._turn()
        self._notify.send("STOPPING=1")
        self._teller.flush(monotonic_ms(), calm=True)
        self._say(NOTICE, "stopped")
        return EXIT_OK

    def _guarded_turn(self) -> tuple[int, ...]:
        """A turn of the loop. A defect of ours costs that turn and never the guard."""
        try:
            self._poll_victims()
            return self._guard.turn()
        except Exception as error:
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            code = where.tb_frame.f_code if where is not None else None
            place = f"{code.co_filename}:{where.tb_lineno}" if code and where else "?"
            self._say(ERR, f"internal error at {place}: {error!r}; still on guard")
            # Not at once: what fails every time must not keep a processor busy.
            return self._watch.wait(DEFECT_MS)

    def _turn(self) -> None:
        readable = self._guarded_turn()
        now_ms = monotonic_ms()
        for fd in readable:
            if fd == self._wake_fd:
                os.read(fd, 4096)
            elif fd == self._loader.fd and self._loader.read():
                self._watch.unregister(fd)
        for error in self._guard.errors:
            self._say(ERR, error)
        self._guard.errors.clear()
        for pid, exit_code in self._helpers.collect():
            self._teller.ended(pid, exit_code)
            loaded = self._loader.ended(pid, exit_code)
            if loaded is not None:
                self._end_reload(loaded)
        # After that: a second SIGHUP has waited for the first, and should not wait for a turn.
        if self._hung_up and not self._loader.loading:
            self._hung_up = False
            self._begin_reload()
        if not self._act.in_flight.victims:
            self._teller.flush(now_ms, calm=self._guard.calm)
        self._ping(now_ms)

    def _poll_victims(self) -> None:
        """Wake up when a victim has gone. A closed descriptor must not stay registered."""
        wanted = frozenset(self._act.in_flight.pidfds())
        for fd in self._polled - wanted:
            self._watch.unregister(fd)
        for fd in wanted - self._polled:
            self._watch.register(fd)
        self._polled = wanted

    def _ping(self, now_ms: int) -> None:
        if self._notify.watchdog_ms and now_ms - self._pinged_ms > self._notify.watchdog_ms // 4:
            self._pinged_ms = now_ms
            self._notify.watchdog()


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
