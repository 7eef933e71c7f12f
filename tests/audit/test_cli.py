"""The command line: exit statuses, one line for what is wrong, and who answers to it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from oomd import __version__
from tests.audit.commands import TREE, Oomd, spawn
from tests.audit.machines import AMPLE, INIT, SHORT, TASKS
from tests.roots import make_root

# --- exit statuses


def test_0_and_1_say_whether_a_threshold_is_crossed(oomd: Oomd, tmp_path: Path) -> None:
    make_root(tmp_path / "ample", TASKS, meminfo=AMPLE)
    make_root(tmp_path / "short", TASKS, meminfo=SHORT)
    for args in ((), ("--json",), ("--policy", "mainline")):
        assert oomd.audit("--root", tmp_path / "ample", *args).status == 0
        assert oomd.audit("--root", tmp_path / "short", *args).status == 1


def test_a_threshold_is_crossed_as_the_configuration_says(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=SHORT)
    oomd.config.write_text("[exhaustion]\navailable_percent = 3\n")
    assert oomd.audit("--root", tree).status == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["surplus"], "unrecognized arguments: surplus"),
        (["--dry-run", "--policy", "el8"], "invalid choice: 'el8'"),
        (["--dry-run", "--top", "0"], "'0': expected a number from 1"),
        (["--dry-run", "--top", "ten"], "'ten': expected a number from 1"),
        (["--dry-run", "--current", "-1"], "'-1': expected a number from 1"),
        (["--dry-run", "--assume", "vm.panic_on_oom"], "expected NAME=NUMBER"),
        (["--dry-run", "--assume", "vm.swappiness=1"], "expected NAME=NUMBER"),
        (["--dry-run", "--assume", "vm.panic_on_oom=-1"], "expected NAME=NUMBER"),
        (["--dry-run", "--nodes", "two"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "1-0"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "disk:0"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "-1"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "0-99999999999"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "99999999999"], "expected a list of NUMA nodes"),
        (["--dry-run", "--nodes", "0", "--memcg", "/a"], "not allowed with argument"),
        (["--dry-run", "--manual", "--memcg", "/a"], "not allowed with argument"),
        (["--dry-run", "--root", "/nowhere/at/all"], "no tree to read"),
        (["--dry-run", "--watch", "--root", "/"], "--watch needs the live machine"),
        (["--dry-run", "--watch", "--record", "/tmp"], "--watch needs the live machine"),
        (["--dry-run", "--watch", "--memcg", "/a"], "--watch does not go with --memcg"),
        (["--dry-run", "--watch", "--nodes", "0"], "--watch does not go with --nodes"),
        (["--dry-run", "--watch", "--current", "7"], "--watch does not go with --current"),
        (["--dry-run", "--watch", "--manual"], "--watch does not go with --manual"),
        (["--dry-run", "--watch", "--assume", "panic_on_oom=1"], "does not go with --assume"),
        (["--json"], "--json goes with --dry-run"),
        (["--top", "3"], "--top goes with --dry-run"),
        (["--show"], "--show goes with --check-config"),
        (["--dry-run", "--show"], "--show goes with --check-config"),
        (["--dry-run", "--config", "/nowhere/oomd.toml"], "/nowhere/oomd.toml: cannot be read"),
    ],
)
def test_2_for_what_cannot_be_asked(oomd: Oomd, args: list[str], says: str) -> None:
    ran = oomd(*args)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("oomd: ")
    assert says in ran.err
    assert ran.err.count("\n") == 1


def test_2_for_a_configuration_that_is_not_usable(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    oomd.config.write_text("[log]\n\ntop = 'all'\n")
    ran = oomd.audit("--root", tree)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"oomd: {oomd.config}:3: log.top: ")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("{", "not JSON"),
        ("{}", "not a recording"),
        ('{"oomd_recording": 1, "same_mm": 7}', '"same_mm" has an impossible value'),
        ('{"oomd_recording": 1, "extra": {"own_pid": "x"}}', '"own_pid" has an impossible value'),
        ('{"oomd_recording": 1, "extra": {"own_pid": null}}', '"own_pid" has an impossible value'),
    ],
)
def test_2_for_a_recording_that_is_not_one(
    oomd: Oomd, tree: Path, manifest: str, says: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    (tree / "manifest.json").write_text(manifest)
    ran = oomd.audit("--root", tree)
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


def test_2_for_a_recording_over_something_else(oomd: Oomd, tree: Path, tmp_path: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("precious")
    ran = oomd.audit("--root", tree, "--record", tmp_path / "full")
    assert (ran.status, ran.out) == (2, "")
    assert "not empty, and nothing is overwritten" in ran.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]


def test_3_for_a_tree_of_which_too_little_can_be_read(oomd: Oomd, tmp_path: Path) -> None:
    make_root(tmp_path / "no meminfo", TASKS)
    (tmp_path / "no meminfo/proc/meminfo").unlink()
    make_root(tmp_path / "torn meminfo", TASKS, files={"proc/meminfo": "MemTotal: much\n"})
    make_root(tmp_path / "nobody")
    make_root(tmp_path / "refused", [{"pid": 1, "refusals": {"stat": "EACCES"}}])
    for tree in sorted(tmp_path.glob("[!e]*")):
        if tree.is_dir():
            ran = oomd.audit("--root", tree)
            assert (ran.status, ran.out) == (3, ""), tree
            assert ran.err.startswith("oomd: cannot decide: ")
            assert ran.err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyError("x"), RecursionError()])
def test_70_for_a_defect_of_ours(
    oomd: Oomd, tree: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*args: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("oomd.audit_command.audit", broken)
    make_root(tree, TASKS, meminfo=AMPLE)
    ran = oomd.audit("--root", tree)
    assert (ran.status, ran.out) == (70, "")
    assert type(error).__name__ in ran.err
    assert ran.err.endswith("oomd: internal error, please report the lines above\n")


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "text"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_has_seen_enough_is_no_error(
    oomd: Oomd, tree: Path, status: int, form: list[str], unbuffered: str
) -> None:
    make_root(tree, TASKS, meminfo=(AMPLE, SHORT)[status])
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    args = ["--dry-run", "--config", str(oomd.config), "--root", str(tree), *form]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ran = spawn(*args, env=env, stdout=write_fd, stderr=subprocess.PIPE)
    os.close(write_fd)
    assert ran.stderr == ""
    # The verdict stands, whoever listens.
    assert ran.returncode == status


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_an_output_that_cannot_be_written_is_said_in_one_line(
    oomd: Oomd, tree: Path, unbuffered: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    with open("/dev/full", "wb") as full:
        args = ("--dry-run", "--config", oomd.config, "--root", tree)
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        ran = spawn(*args, env=env, stdout=full, stderr=subprocess.PIPE)
    assert ran.stderr == "oomd: cannot write the output: No space left on device\n"
    assert ran.returncode == 2


# --- the rest


def test_check_config_answers_for_the_file(oomd: Oomd, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"
    draft.write_text("[watch]\ntripwire_ms = 99\n")
    assert oomd("--check-config", draft) == (0, f"OK: {draft}\n", "")
    shown = oomd("--check-config", draft, "--show")
    assert shown.status == 0
    assert f"watch.tripwire_ms = 99 ms  ({draft}:2)\n" in shown.out
    # --config names the file, too.
    assert oomd("--check-config", "--config", draft) == (0, f"OK: {draft}\n", "")
    draft.write_text("[watch]\ntripwire = 99\n")
    broken = oomd("--check-config", draft)
    assert (broken.status, broken.out) == (2, "")
    assert broken.err.startswith(f"{draft}:2: watch.tripwire: ")


def test_help_and_version_are_no_errors(capsys: pytest.CaptureFixture[str], oomd: Oomd) -> None:
    for option, says in (("--help", "--dry-run"), ("--version", f"oomd {__version__}\n")):
        with pytest.raises(SystemExit) as left:
            oomd(option)
        assert left.value.code == 0
        assert says in capsys.readouterr().out


CONSOLE_SCRIPT = Path(sys.executable).with_name("oomd")


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "oomd"], [str(CONSOLE_SCRIPT)]],
    ids=["python -m oomd", "the console script"],
)
def test_both_ways_to_call_it(oomd: Oomd, tree: Path, command: list[str]) -> None:
    make_root(tree, TASKS, meminfo=SHORT)
    args = ["--dry-run", "--json", "--config", str(oomd.config), "--root", str(tree)]
    ran = subprocess.run([*command, *args], cwd=TREE, capture_output=True, check=False)
    assert ran.stderr == b""
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["decision"]["chosen"]["pid"] == 10
    ran = subprocess.run([*command, "--nonsense"], cwd=TREE, capture_output=True, check=False)
    assert ran.returncode == 2


# All is loaded before it becomes nobody, for whom this tree may be out of reach.
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
import oomd.cli, oomd.proc.kcmp
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(oomd.cli.main())
"""


@pytest.mark.live
def test_without_root_it_works_and_says_what_it_could_not_see() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        config = Path(folder, "empty.toml")
        config.write_text("")
        command = [sys.executable, "-B", "-c", AS_NOBODY, str(TREE)]
        args = ["--dry-run", "--json", "--config", str(config)]
        ran = subprocess.run([*command, *args], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    found = json.loads(ran.stdout)
    assert ran.returncode == int(found["would_act_now"])
    assert found["decision"]["verdict"] in ("kill", "wait")
    assert {one["pid"] for one in found["tasks"]} >= {1, os.getpid()}
    assert any("is not observable" in note for note in found["notes"])


def test_a_tree_that_says_nothing_is_not_taken_for_this_machine(oomd: Oomd, tree: Path) -> None:
    make_root(tree, [INIT, {"pid": os.getpid(), "comm": "me", "rss_pages": 9}], meminfo=AMPLE)
    (tree / "proc/sys/kernel/osrelease").unlink()
    found = oomd.json(tree)
    # The pid of this process is somebody else's there.
    assert found["decision"]["chosen"]["pid"] == os.getpid()
    assert found["kernel"] == ""
    assert "a plain tree: what only a live kernel tells is not observable" in found["notes"]
