"""Where the running daemon is asked: its status, and to pause and to go on.

Only between two turns of the loop, and only while nobody has to be killed: a threshold is looked
at first, and a question waits until what is to be done about it is done.
"""

import time

from oomd.clock import monotonic_ms
from oomd.control.chronicle import Chronicle
from oomd.control.pause import LONGEST_S, Pause
from oomd.control.samples import COLUMNS, Samples
from oomd.control.socket import ControlSocket, Peer
from oomd.control.state import State
from oomd.effects.act import Executor
from oomd.event import Look
from oomd.guard import Guard
from oomd.log import NOTICE, WARNING, Log
from oomd.mm.policy import policy_for
from oomd.notifier.worker_process import WorkerProcess
from oomd.proc.root import ReadError, Root
from oomd.proc.vmstat import read_oom_kill
from oomd.report.record import Record
from oomd.report.words import threshold_words
from oomd.sd_notify import SdNotify
from oomd.settings import Settings
from oomd.teller import Teller
from oomd.typed import Callable, Iterator
from oomd.watch import Watch
from oomd.wire import Message, WireError, encode, integer

__all__ = ["Desk", "open_desk"]

# Right after a decision: how often memory is looked at, for its record.
FRESH_MS = 200


def _duration(seconds: int) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


class Desk:
    """Answers for the daemon, and keeps its pause."""

    def __init__(
        self,
        root: Root,
        socket: ControlSocket,
        *,
        state: State,
        pause: Pause,
        chronicle: Chronicle,
        act: Executor,
        say: Callable[[int, str], None],
        notify: SdNotify,
    ) -> None:
        self._root = root
        self._socket = socket
        self._state = state
        self._pause = pause
        self._act = act
        self._say = say
        self._notify = notify
        self._chronicle = chronicle
        self._samples = Samples()
        self._kernel_kills = read_oom_kill(root)
        self._look: Look | None = None
        self._blind = ""
        # Of the daemon, as it is now.
        self._settings = Settings()
        self._watch: Watch | None = None
        self._guard: Guard | None = None

    def configure(self, settings: Settings, watch: Watch, guard: Guard) -> None:
        """New settings are in force. A pause goes on."""
        self._settings, self._watch, self._guard = settings, watch, guard
        guard.seen = self._see
        group = settings.control.group
        # The helper has looked it up; a name is left where it could not.
        self._socket.grant(int(group) if group.isdecimal() else 0)

    def series(self) -> Record:
        """What memory was like of late, for the records that are told now."""
        return {
            "kind": "samples",
            "time": time.time(),
            "now_ms": monotonic_ms(),
            "columns": COLUMNS,
            "rows": self._samples.rows(),
        }

    def rehearse(self) -> None:
        """Make an answer for nobody: what it needs is then in memory."""
        self._take_look()
        for message in self._status():
            encode(message)

    def close(self) -> None:
        """Nobody is answered any more."""
        self._socket.close()

    def _see(self, look: Look) -> None:
        self._samples.add(look)
        self._look, self._blind = look, ""

    def _pressing(self) -> bool:
        """By the last look somebody has to be killed, and everybody else waits."""
        look = self._look
        # In a pause nobody is killed, whatever is crossed; nor while the last kill takes its time,
        # nor where another would be of no use.
        if look is None or look.crossed is None or self._pause.begun:
            return False
        return self._act.hold_ms(monotonic_ms()) is None and not self._act.rests(look)

    # --- before a turn

    def status_words(self, words: str) -> str:
        """For systemd: ``words``, or that we are paused."""
        left_s = -(-self._pause.left_ms() // 1000)
        return f"paused for {left_s} s more, nobody is killed" if left_s else words

    def end_pause(self) -> None:
        """End a pause whose time is up."""
        if self._pause.begun and not self._pause.left_ms():
            self._resume("the pause is over")

    def fds(self) -> tuple[int, ...]:
        """What may end the sleep. Nobody, while somebody has to be killed."""
        blind = self._guard is not None and self._guard.blind
        return self._socket.fds() if blind or not self._pressing() else ()

    def longest_ms(self, longest_ms: int) -> int:
        """How long to sleep at most, for the pause and for those who wait."""
        fresh = FRESH_MS if self._chronicle.fresh(monotonic_ms()) else None
        waits = (longest_ms, self._socket.wait_ms(), self._pause.left_ms() or None, fresh)
        return min(one for one in waits if one is not None)

    # --- after it

    def _take_look(self) -> None:
        if self._watch is None:
            return
        try:
            self._look, self._blind = self._watch.look(monotonic_ms()), ""
        except ReadError as error:
            self._look, self._blind = None, str(error)

    def attend(self, readable: tuple[int, ...]) -> None:
        """Answer one who has asked, if memory allows: this very moment, not as it was before."""
        if self._socket.wants(readable):
            self._take_look()
            if not self._pressing():
                self._socket.attend(readable, self._answer)

    def _answer(self, question: Message, peer: Peer) -> Iterator[Message]:
        match question["op"]:
            case "status":
                yield from self._status()
            case "pause" | "resume" if peer.uid != 0:
                raise WireError("only root may do that")
            case "pause":
                seconds = integer(question, "seconds", 1, LONGEST_S)
                self._begin(seconds, peer)
                yield {"op": "paused", "left_ms": self._pause.left_ms()}
            case "resume":
                paused = self._pause.begun
                if paused:
                    self._resume(f"the pause was ended by pid {peer.pid}")
                yield {"op": "resumed", "was_paused": paused}
            case _:
                raise WireError("a question that this oomd does not know")
        yield {"op": "end"}

    def _status(self) -> Iterator[Message]:
        watch = self._watch
        assert watch is not None
        if self._blind:
            yield {"op": "status_blind", "error": self._blind}
        kills, first = read_oom_kill(self._root), self._kernel_kills
        since = None if kills is None or first is None else kills - first
        policy = policy_for(self._settings.policy, self._root.kernel_release()).name
        yield from self._state.sections(self._settings, watch, policy, self._look, since)

    # --- the pause

    def _begin(self, seconds: int, peer: Peer) -> None:
        self._pause.begin(seconds)
        self._act.pause(True)
        words = f"paused for {_duration(seconds)}"
        self._say(WARNING, f"{words}, as pid {peer.pid} asks: nobody is killed, all is recorded")
        self._notify.send(f"STATUS={words}, nobody is killed")

    def _resume(self, why: str) -> None:
        self._pause.end()
        self._act.pause(False)
        self._say(NOTICE, f"{why}: guarding again")
        self._notify.send(f"STATUS={threshold_words(self._settings)}")


def open_desk(
    root: Root,
    path: str,
    *,
    act: Executor,
    worker: WorkerProcess,
    chronicle: Chronicle,
    teller: Teller,
    log: Log,
    notify: SdNotify,
    config_file: str | None,
) -> Desk:
    """The daemon's desk, with a socket at ``path``; empty: with none."""
    pause = Pause()
    state = State(
        act=act,
        worker=worker,
        chronicle=chronicle,
        pause=pause,
        teller=teller,
        log=log,
        config_file=config_file,
    )

    socket = ControlSocket(path, log.say, monotonic_ms)
    return Desk(
        root,
        socket,
        state=state,
        pause=pause,
        chronicle=chronicle,
        act=act,
        say=log.say,
        notify=notify,
    )
