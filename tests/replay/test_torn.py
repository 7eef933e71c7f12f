"""Logs as they are: cut, interleaved, repeated, from several hosts at once."""

import pytest

from oomd.replay.collect import QUIET_LINES
from tests.replay.forms import FORMS
from tests.replay.reading import judged, only, reports, sample
from tests.replay.synthetic import ERAS, Process, memcg_lines, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
OTHER = Process(700, 300_000, "other", pgtables=1000)
CHATTER = (
    'audit: type=1400 audit(1.2:3): apparmor="DENIED" comm="x"',
    "systemd[1]: foo.service: A process of this unit has been killed by the OOM killer.",
    "CPU: 1 PID: 9 Comm: kworker Not tainted 9.9.9-wrong #1",
    "TCP: out of memory -- consider tuning tcp_mem",
    "oom_reaper: reaped process 3 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
    "",
)


# --- cut


@pytest.mark.parametrize("era", ERAS)
def test_cut_anywhere_it_is_either_judged_right_or_not_at_all(era: str) -> None:
    lines = report(era, [SMALL, BIG], 200, 501)
    for at in range(len(lines) + 1):
        for part in (lines[:at], lines[at:]):
            for found in judged(part):
                assert found.agrees in (True, None), part
                assert found.score_agrees in (True, None), part
                assert found.report.complete == (part == lines)


@pytest.mark.parametrize("name", ["6.1-global", "6.1-memcg-group", "6.1-sysrq-thrice"])
def test_a_real_one_cut_anywhere(name: str) -> None:
    lines = sample(name)
    for at in range(0, len(lines) + 1):
        for found in [*judged(lines[:at]), *judged(lines[at:])]:
            assert found.agrees in (True, None)


def test_a_report_follows_one_that_was_cut() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    for at in range(1, len(lines) - 2):
        found = judged([*lines[:at], *lines])
        assert found[-1].agrees is True, at
        assert found[-1].report.complete
        assert all(one.agrees is None for one in found[:-1])


def test_a_kill_without_a_report() -> None:
    """The kernel's rate limit leaves out all but the last lines."""
    for era in ("el7", "5.10"):
        lines = report(era, [SMALL, BIG], 200, 501)
        found = judged([*lines, *report(era, [OTHER], 700, 301)[-2:]])
        assert [one.agrees for one in found] == [True, None]
        assert found[1].report.killed[0].pid == 700


# --- several


def test_several_in_one_log() -> None:
    log = [line for era in ERAS for line in report(era, [SMALL, BIG], 200, 501)]
    found = judged(log)
    assert [one.agrees for one in found] == [True] * len(ERAS)
    assert all(one.report.complete for one in found)


@pytest.mark.parametrize("era", ERAS)
def test_other_messages_lie_between(era: str) -> None:
    lines = report(era, [SMALL, BIG], 200, 501)
    mixed = []
    for number, line in enumerate(lines):
        mixed += [line, CHATTER[number % len(CHATTER)]]
    found = only(mixed)
    assert (found.agrees, found.report.complete) == (True, True)
    assert found.report.kernel == ERAS[era].release


def interleaved(one: list[str], other: list[str]) -> list[str]:
    longest = max(len(one), len(other))
    pairs = ((lines[n : n + 1]) for n in range(longest) for lines in (one, other))
    return [line for pair in pairs for line in pair]


def test_two_hosts_at_once() -> None:
    one = report("el7", [SMALL, BIG], 200, 501)
    other = report("5.10", [OTHER], 700)
    log = interleaved(
        [f"Sep 29 08:12:34 web01 kernel: {line}" for line in one],
        [f"Sep 29 08:12:34 web02 kernel: {line}" for line in other],
    )
    found = judged(log)
    assert sorted(one.profile.policy.name for one in found) == ["el7", "mainline"]
    assert all(one.agrees and one.report.complete for one in found)


def test_two_processors_at_once() -> None:
    one, other = report("el7", [SMALL, BIG], 200, 501), report("el7", [OTHER], 700, 301)
    log = interleaved(
        [f"[    1.5][  T10] {line}" for line in one], [f"[    1.5][  T20] {line}" for line in other]
    )
    assert [one.agrees for one in judged(log)] == [True, True]


def test_two_at_once_that_cannot_be_told_apart_are_not_judged() -> None:
    one, other = report("el7", [SMALL, BIG], 200, 501), report("el7", [OTHER], 700, 301)
    assert all(one.agrees is None for one in judged(interleaved(one, other)))


def test_the_end_of_one_may_come_after_the_beginning_of_another() -> None:
    one = report("el7", [SMALL, BIG], 200, 501)
    memory = memcg_lines(1_200_000, memsw=(0, 1_200_000))
    other = report("el7", [OTHER], 700, 1003, memory=memory, memcg="/box")
    for at in (1, 3, len(other) - 3, len(other) - 2):
        found = judged([*one[:-2], *other[:at], *one[-2:], *other[at:]])
        assert [one.agrees for one in found] == [True, True], at
        assert {one.report.killed[0].pid for one in found} == {200, 700}


def test_a_report_that_never_ends_is_given_up() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    late = [*lines[:-2], *["something else"] * (QUIET_LINES + 10), *lines[-2:]]
    first, second = judged(late)
    assert (first.agrees, second.agrees) == (None, None)
    assert first.report.killed == []


def test_many_hosts_take_bounded_room() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    log = [f"Sep 29 08:12:34 host{n} kernel: {lines[0]}" for n in range(1000)]
    assert len(reports(log)) == 1000


def test_after_a_boot_pids_are_others() -> None:
    first, second = report("5.10", [SMALL, BIG], 200), report("5.10", [SMALL, BIG], 100)
    assert [one.agrees for one in judged([*first, *second])] == [True, True]
    boot = "Linux version 5.10.0-8-amd64 (a@b) (gcc-12) #1 SMP Debian"
    assert [one.agrees for one in judged([*first, boot, *second])] == [True, False]
    # It ends what was under way, and names the kernel of what has no beginning.
    found = judged([*first[:-2], boot, *second[-8:]])
    assert [one.agrees for one in found] == [None, False]
    assert found[1].report.kernel == "5.10.0-8-amd64"


def test_a_logger_that_says_what_it_dropped() -> None:
    lines = [f"Sep 29 08:12:34 web01 kernel: {line}" for line in report("5.10", [SMALL, BIG], 100)]
    lines.insert(-3, "Sep 29 08:12:34 web01 systemd-journald[1]: Missed 7 kernel messages")
    assert only(lines).agrees is None
    lines[-4] = "Sep 29 08:12:34 web02 systemd-journald[1]: Missed 7 kernel messages"
    assert only(lines).agrees is False


# --- oomd's own words


def test_oomds_own_lines_are_told_from_a_kernels() -> None:
    own = sample("6.1-by-oomd")
    (found,) = reports(own)
    assert found.by_oomd
    # Without the facility that kmsg keeps: by their shape.
    bare = [line.partition(";")[2] for line in own]
    (found,) = reports(bare)
    assert found.by_oomd
    assert [one.comm for one in found.killed] == ["hog"]


def test_oomds_lines_between_a_kernels() -> None:
    kernels = report("5.10", [SMALL, BIG], 200)
    own = [
        "oomd invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=-1000",
        "Out of memory: Kill process 900 (java) score 237 or sacrifice child",
        "Killed process 900 (java) total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB",
    ]
    for at in range(len(kernels)):
        log = [f"6,{n},1,-;{line}" for n, line in enumerate(kernels)]
        log[at:at] = [f"11,{n},1,-;{line}" for n, line in enumerate(own)]
        found = judged(log)
        assert sorted(one.report.by_oomd for one in found) == [False, True]
        assert [one.agrees for one in found if not one.report.by_oomd] == [True]


def test_a_whole_journal_has_them_twice() -> None:
    own = [
        "java invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0",
        "Out of memory: Killed process 900 (java) total-vm:8kB, anon-rss:4kB, file-rss:0kB, "
        "shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0",
    ]
    log = [f"Sep 29 08:12:34 web01 unknown: {line}" for line in own]
    log += [f"Sep 29 08:12:34 web01 oomd[77]: {line}" for line in own]
    (found,) = reports(log)
    assert found.by_oomd


def test_an_old_kernels_page_fault_has_a_mask_of_0_too() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    lines[0] = lines[0].replace("0x280da", "0x0")
    found = only([FORMS["none"](n, line) for n, line in enumerate(lines)])
    assert not found.report.by_oomd
    assert found.agrees is True


def test_oomds_panic() -> None:
    log = ["Out of memory: system-wide panic_on_oom is enabled", "sysrq: Trigger a crash"]
    (found,) = reports(log)
    assert found.by_oomd
