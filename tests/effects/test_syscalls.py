"""The system calls themselves, on this process and on children of the test."""

import errno
import os
import signal

import pytest

from oomd.effects import syscalls
from oomd.effects.syscalls import Abilities, describe
from tests.effects.children import OwnChildren, has_exited, open_fds

pytestmark = pytest.mark.live

# Above PID_MAX_LIMIT (include/linux/threads.h): nobody's.
NO_PID = 1 << 23


def test_pidfd_open_answers() -> None:
    pidfd = syscalls.pidfd_open(os.getpid())
    assert pidfd >= 0
    assert not os.get_inheritable(pidfd)
    assert not has_exited(pidfd)
    os.close(pidfd)
    assert syscalls.pidfd_open(NO_PID) == -errno.ESRCH
    assert syscalls.pidfd_open(-1) == -errno.EINVAL


def test_pidfd_send_signal_answers(children: OwnChildren) -> None:
    child = children.start_ready()
    pidfd = children.hold(child.pid)
    assert syscalls.pidfd_send_signal(pidfd, 0) == 0
    assert syscalls.pidfd_send_signal(pidfd, signal.SIGTERM) == 0
    assert child.wait() == -signal.SIGTERM
    assert syscalls.pidfd_send_signal(pidfd, 0) == -errno.ESRCH


def test_probe_leaves_nothing_open() -> None:
    before = open_fds()
    abilities = syscalls.probe()
    assert open_fds() == before
    # Python's own pidfd_open(), where it has one, is the oracle.
    os.close(os.pidfd_open(os.getpid()))
    assert abilities.pidfd


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"pidfd_open": -errno.ENOSYS}, Abilities(pidfd=False, process_mrelease=False)),
        ({"process_mrelease": -errno.ENOSYS}, Abilities(pidfd=True, process_mrelease=False)),
        ({"process_mrelease": -errno.EPERM}, Abilities(pidfd=True, process_mrelease=False)),
        ({"pidfd_send_signal": -errno.EPERM}, Abilities(pidfd=False, process_mrelease=True)),
    ],
)
def test_probe_believes_the_call(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, int], expected: Abilities
) -> None:
    monkeypatch.setattr(syscalls, "process_mrelease", lambda _: -errno.EINVAL)
    for name, answer in answers.items():
        monkeypatch.setattr(syscalls, name, lambda *_, answer=answer: answer)
    assert syscalls.probe() == expected


def test_describe_says_what_stands_in() -> None:
    assert describe(Abilities(pidfd=True, process_mrelease=True)) == (
        "kills through a pidfd; process_mrelease takes a victim's memory"
    )
    old = describe(Abilities(pidfd=False, process_mrelease=False))
    assert old.startswith("no pidfd: ")
    assert "; no process_mrelease: " in old
