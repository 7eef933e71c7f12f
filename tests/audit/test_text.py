"""What a person reads: the parts, the words, colour on a terminal alone, nothing hostile."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.report.kernel_log import printable
from tests.audit.commands import TREE, Oomd, spawn
from tests.audit.machines import AMPLE, HOG, INIT, SHORT, TASKS
from tests.proc.hostile import HOSTILE_COMMS
from tests.roots import Row, make_root

ESCAPE = "\x1b"


def test_the_parts_in_their_order(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    lines = oomd.audit("--root", tree).out.splitlines()
    titles = (
        "The machine",
        "Thresholds",
        "out_of_memory(), if it were called now",
        "Ranking (2 of 2 eligible)",
        "never chosen: global init (1), kernel thread (1), oom_score_adj -1000 (1)",
    )
    places = [lines.index(title) for title in titles]
    assert places == sorted(places)
    assert lines[-1] == (
        "Nothing to do now. If memory ran out, oomd would kill 10 (hog, chosen), "
        "giving back up to 1,953.1 MiB."
    )


def test_a_crossed_threshold_is_said_first_and_last(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=SHORT)
    ran = oomd.audit("--root", tree)
    assert ran.status == 1
    assert re.search(r"^exhaustion +CROSSED +146\.5 MiB against 195\.3 MiB$", ran.out, re.M)
    assert ran.out.splitlines()[-1].startswith(
        "The exhaustion threshold is crossed: oomd would kill 10 (hog, chosen)"
    )


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (2, 2), (50, 30)])
def test_top_bounds_the_ranking(oomd: Oomd, tree: Path, top: int, shown: int) -> None:
    crowd: list[Row] = [{"pid": 20 + n, "comm": f"p{n}", "rss_pages": n} for n in range(30)]
    make_root(tree, [INIT, *crowd], meminfo=AMPLE)
    out = oomd.audit("--root", tree, "--top", str(top)).out
    assert f"Ranking ({shown} of 30 eligible)" in out
    assert len(re.findall(r"^ *\d+ +0 +p\d+ ", out, re.M)) == shown


def test_top_has_its_default_from_the_configuration(oomd: Oomd, tree: Path) -> None:
    crowd: list[Row] = [{"pid": 20 + n, "comm": f"p{n}", "rss_pages": n} for n in range(30)]
    make_root(tree, [INIT, *crowd], meminfo=AMPLE)
    assert "Ranking (10 of 30 eligible)" in oomd.audit("--root", tree).out
    oomd.config.write_text("log.top = 3")
    assert "Ranking (3 of 30 eligible)" in oomd.audit("--root", tree).out


def test_no_line_ends_in_blanks_or_is_too_long_for_a_pipe(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    lines = oomd.audit("--root", tree).out.splitlines()
    assert [line for line in lines if line != line.rstrip() or len(line) > 120] == []


# --- what is hostile


def hostile_tasks() -> list[Row]:
    """Each of the names in turn; the largest is the one that would die."""
    return [INIT] + [
        {"pid": 20 + n, "comm": comm.decode("utf-8", "surrogateescape"), "rss_pages": 9000 - n}
        for n, comm in enumerate(HOSTILE_COMMS)
    ]


def unsafe(text: str) -> str:
    """What of a text should not have been in it."""
    return "".join(char for char in text if char != "\n" and not char.isprintable())


@pytest.mark.parametrize("comm", HOSTILE_COMMS, ids=repr)
def test_a_hostile_name_is_shown_as_what_it_is(oomd: Oomd, tree: Path, comm: bytes) -> None:
    name = comm.decode("utf-8", "surrogateescape")
    hog: Row = {**HOG, "comm": name}
    make_root(tree, [INIT, hog], meminfo=AMPLE)
    out = oomd.audit("--root", tree).out
    assert unsafe(out) == ""
    assert f"would kill 10 ({printable(name)}, chosen)" in out


def test_hostile_names_stay_in_their_own_rows(oomd: Oomd, tree: Path) -> None:
    make_root(tree, hostile_tasks(), meminfo=AMPLE)
    out = oomd.audit("--root", tree, "--top", "99").out
    assert unsafe(out) == ""
    rows = re.findall(r"^ *(\d+) +0 .* \d\.\d MiB ", out, re.M)
    assert [int(pid) for pid in rows] == [20 + n for n in range(len(HOSTILE_COMMS))]


def test_hostile_names_in_the_json_are_safe_when_they_are_decoded_too(
    oomd: Oomd, tree: Path
) -> None:
    make_root(tree, hostile_tasks(), meminfo=AMPLE)
    ran = oomd.audit("--root", tree, "--json")
    assert unsafe(ran.out) == ""
    assert ran.out.isascii()
    comms = {task["pid"]: task["comm"] for task in json.loads(ran.out)["tasks"]}
    for number, comm in enumerate(HOSTILE_COMMS):
        assert comms[20 + number] == printable(comm.decode("utf-8", "surrogateescape"))
        assert unsafe(comms[20 + number]) == ""


def test_a_hostile_recording_reaches_nobodys_terminal(oomd: Oomd, tree: Path) -> None:
    red = "\x1b[31m\r\u202ered"
    secret: Row = {"pid": 20, "refusals": {"status": f"EACCES{red}"}}
    make_root(
        tree,
        [INIT, HOG, secret],
        meminfo=AMPLE,
        refused={"proc/sys/vm/panic_on_oom": red},
        files={"proc/sys/kernel/osrelease": red, "proc/10/comm": "earlyoom\n"},
    )
    manifest = json.loads((tree / "manifest.json").read_text())
    (tree / "manifest.json").write_text(json.dumps({**manifest, "kernel_release": red}))
    for args in ((), ("--json",), ("--memcg", red), ("--assume", f"{red}=1")):
        ran = oomd.audit("--root", tree, *args)
        assert ran.out or ran.err
        assert unsafe(ran.out) == unsafe(ran.err) == ""
    bad = tree / f"no{red}"
    ran = oomd.audit("--root", bad)
    assert (ran.status, unsafe(ran.err)) == (2, "")


# --- colour


def on_a_terminal(*args: str | Path, **env: str) -> tuple[int, str]:
    """Run with a pseudo-terminal as standard output; the exit status and what it showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "oomd", *args]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(
        command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:
            # EIO: the last one that had it open has closed it.
            pass
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


def test_colour_on_a_terminal_and_none_in_a_pipe(oomd: Oomd, tree: Path) -> None:
    make_root(tree, hostile_tasks(), meminfo=SHORT)
    args = ("--dry-run", "--config", oomd.config, "--root", tree)
    status, shown = on_a_terminal(*args)
    assert status == 1
    assert COLOUR.search(shown)
    # rich's own codes, and nothing from the names of processes.
    assert unsafe(re.sub(r"\x1b\[[0-9;]*m|\r\n", "", shown)) == ""
    piped = spawn(*args, stdout=subprocess.PIPE)
    assert piped.returncode == 1
    assert ESCAPE not in piped.stdout
    assert "CROSSED" in piped.stdout


def test_no_color_is_respected(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=SHORT)
    args = ("--dry-run", "--config", oomd.config, "--root", tree)
    status, shown = on_a_terminal(*args, NO_COLOR="1")
    assert status == 1
    assert "CROSSED" in shown
    assert not COLOUR.search(shown)
