"""``oomd notifiers``: against a worker that runs, and where none does."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomd import notifiers_command
from oomd.cli import main
from oomd.client import OomClient
from oomd.config_plugins import discover
from oomd.notifier import OomEvent, oom_notifier
from oomd.testing import Harness

EXAMPLE = Path(__file__).parent / "example_plugin"

Run = Callable[..., tuple[int, str, str]]


@oom_notifier("of-the-test", priority=9)
def release(event: OomEvent, *, fail: bool = False) -> int:
    """A plugin for the worker of these tests."""
    if fail:
        raise RuntimeError("as it was told")
    return event.wanted_bytes


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    config = tmp_path / "oomd.toml"
    config.touch()

    def run(*words: str, settings: str = "") -> tuple[int, str, str]:
        config.write_text(settings)
        capsys.readouterr()
        status = main(["notifiers", "--config", str(config), *words])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def nowhere(tmp_path: Path) -> list[str]:
    """No daemon here."""
    return ["--socket", str(tmp_path / "nobody.sock")]


@pytest.fixture
def drop_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a plugin where the configuration finds it."""
    folder = tmp_path / "etc/oomd/notifiers.d"
    folder.mkdir(parents=True)
    monkeypatch.setattr(notifiers_command, "discover", lambda: discover(str(tmp_path)))

    def put(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    return put


def plugin_text(name: str, body: str = "return 4096") -> str:
    head = "from oomd.notifier import oom_notifier\n"
    return f'{head}@oom_notifier("{name}", priority=3)\ndef release(event): {body}\n'


BALLOON = "[notifiers.balloon]\nsize_mib = 4\n"

# --- list


def test_list_of_a_worker(run: Run) -> None:
    with Harness(release) as oomd:
        client = OomClient("a-client", priority=4, path=oomd.socket)
        client.run_in_thread(lambda event: 7)
        oomd.wait_until_ready("a-client")
        oomd.chain()
        status, out, _ = run("list", "--socket", oomd.socket)
        client.close()
    assert status == 0
    _, first, second = out.splitlines()
    assert first.split()[:5] == ["of-the-test", "9", "200", "ms", "ready"]
    assert "claims 64.0 MiB in" in first
    assert "entry point tests.notifier.test_command:release" in first
    assert second.split()[:2] == ["a-client", "4"]
    assert f"pid {os.getpid()}" in second


def test_list_as_json(run: Run) -> None:
    with Harness(release, options={"fail": True}) as oomd:
        oomd.release()
        oomd.wait_until_ready("of-the-test")
        status, out, _ = run("--json", "--socket", oomd.socket)
    assert status == 0
    document = json.loads(out)
    assert (document["schema"], document["running"]) == (1, True)
    (one,) = document["notifiers"]
    assert (one["name"], one["priority"], one["deadline_ms"]) == ("of-the-test", 9, 200)
    assert (one["state"], one["faults"]) == ("ready", 1)
    assert one["last"]["verdict"].endswith("RuntimeError: as it was told")
    assert one["last"]["fault"] is True


def test_list_of_a_worker_with_nobody_in_it(run: Run) -> None:
    with Harness() as oomd:
        assert run("--socket", oomd.socket)[:2] == (0, "no notifier is registered\n")


def test_list_without_a_daemon(
    run: Run, nowhere: list[str], drop_in: Callable[[str, str], Path]
) -> None:
    path = drop_in("mine.py", plugin_text("mine"))
    status, out, _ = run(*nowhere, settings=BALLOON)
    assert status == 0
    note, _, balloon, mine = out.splitlines()
    assert note == "oomd is not running; what is configured:"
    assert balloon.split()[:6] == ["balloon", "80", "200", "ms", "not", "running"]
    # What it registers as is known when it is loaded, and that is what list does not do.
    assert mine.split()[:2] == ["mine.py", "?"]
    assert mine.endswith(str(path))
    document = json.loads(run("list", "--json", *nowhere, settings=BALLOON)[1])
    assert document["running"] is False
    assert [one["state"] for one in document["notifiers"]] == ["not running"] * 2


def test_list_of_nothing(run: Run, nowhere: list[str], drop_in: Callable[[str, str], Path]) -> None:
    words = "oomd is not running; nothing is configured\n"
    assert run(*nowhere)[:2] == (0, words)


# --- check


def test_check_of_good_ones(run: Run, drop_in: Callable[[str, str], Path]) -> None:
    path = drop_in("mine.py", plugin_text("mine"))
    status, out, err = run("check", settings=f"{BALLOON}[notifiers.mine]\ndeadline_ms = 70\n")
    assert status == 0, err
    assert out.splitlines() == [
        "ok      balloon  built in, priority 80, 200 ms",
        f"ok      mine  {path}, priority 3, 70 ms",
    ]


@pytest.mark.parametrize(
    ("text", "settings", "problem"),
    [
        (plugin_text("mine"), "[notifiers.mine]\nkeep = 1\n", "{}: mine: option keep is unknown"),
        ("1 / 0\n", "", "{}: cannot be imported: line 1: ZeroDivisionError: division by zero"),
        ("import os\nos._exit(3)\n", "", "{}: does not register: its process ended with status 3"),
        ("import os\nos.kill(os.getpid(), 11)\n", "", "{}: does not register: its process was k"),
        ("import os\nos.closerange(3, 4096)\n", "", "{}: does not register: "),
        (plugin_text("balloon"), "", "{}: balloon: this name is oomd's own"),
        ("x = bytes(1 << 30)\n", "", "{}: cannot be imported: line 1: MemoryError"),
    ],
)
def test_check_of_a_bad_one(
    run: Run, drop_in: Callable[[str, str], Path], text: str, settings: str, problem: str
) -> None:
    path = drop_in("mine.py", text)
    drop_in("other.py", plugin_text("other"))
    status, out, _ = run("check", settings=settings)
    assert status == 2
    bad, good, *_ = out.splitlines()
    assert bad.startswith(f"BAD     {problem.format(path)}")
    assert good.startswith("ok      other")


def test_check_of_two_with_one_name(run: Run, drop_in: Callable[[str, str], Path]) -> None:
    first = drop_in("a.py", plugin_text("same"))
    second = drop_in("b.py", plugin_text("same"))
    status, out, _ = run("check")
    assert status == 2
    assert (
        out.splitlines()[1] == f"BAD     {second}: same: {first} has registered this name already"
    )


def test_check_names_what_was_left_out(run: Run, drop_in: Callable[[str, str], Path]) -> None:
    link = drop_in("mine.py", plugin_text("mine")).with_name("link.py")
    link.symlink_to("mine.py")
    status, out, _ = run("check")
    assert status == 2
    problem = f"plugin left out: {link} is a symbolic link: put the file itself there"
    assert out.splitlines()[1] == f"BAD     {problem}"


def test_check_names_a_table_that_nobody_has_asked_for(
    run: Run, drop_in: Callable[[str, str], Path], tmp_path: Path
) -> None:
    drop_in("file.py", plugin_text("mine"))
    status, out, _ = run("check", settings="[notifiers.mime]\nkeep = 1\n")
    assert status == 0
    origin = f"{tmp_path}/oomd.toml:1"
    words = f"{origin}: notifiers.mime: no notifier has registered this name, did you mean mine?"
    assert out.splitlines()[1] == f"warning {words}"


def test_check_of_a_draft(run: Run) -> None:
    draft = EXAMPLE / "oomd_tmpfs_sweep.py"
    status, out, _ = run("check", str(draft))
    assert (status, out.split()[0]) == (2, "BAD")
    assert "tmpfs-sweep: option folders is missing (expected an array of strings)" in out
    table = '[notifiers.tmpfs-sweep]\nfolders = ["/dev/shm/none"]\n'
    status, out, _ = run("check", str(draft), settings=table)
    assert (status, out.split()[:2]) == (0, ["ok", "tmpfs-sweep"])


def test_check_of_a_broken_configuration(run: Run) -> None:
    status, _, err = run("check", settings="[notifiers.balloon]\nsize_mb = 4\n")
    assert status == 2
    assert "unknown key, did you mean notifiers.balloon.size_mib?" in err


# --- run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run one in a running worker")
def test_run_in_a_worker(run: Run) -> None:
    with Harness(release) as oomd:
        status, out, _ = run("run", "of-the-test", "--mib", "3", "--socket", oomd.socket)
        assert status == 0
        lines = dict(line.split(maxsplit=1) for line in out.splitlines())
        assert lines["notifier"] == "of-the-test, priority 9"
        assert lines["verdict"] == "claims 3.0 MiB"
        assert lines["MemFree"].endswith("MiB meanwhile")
        status, _, err = run("run", "nobody", "--socket", oomd.socket)
        assert (status, err) == (
            2,
            "oomd: no notifier is named nobody: oomd notifiers lists them\n",
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run one in a running worker")
def test_run_of_one_that_fails(run: Run) -> None:
    with Harness(release, options={"fail": True}) as oomd:
        status, out, _ = run("run", "of-the-test", "--json", "--socket", oomd.socket)
    assert status == 1
    document: dict[str, Any] = json.loads(out)
    assert document["schema"] == 1
    assert document["fault"].endswith("RuntimeError: as it was told")
    assert document["claimed_bytes"] == 0


def test_run_without_a_daemon(
    run: Run, nowhere: list[str], drop_in: Callable[[str, str], Path]
) -> None:
    drop_in("mine.py", plugin_text("mine", "return event.wanted_bytes"))
    drop_in("bad.py", "1 / 0\n")
    status, out, _ = run("run", "mine", *nowhere)
    assert status == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["called"] == "by     this command: oomd is not running"
    assert lines["claimed"] == "64.0 MiB"
    status, _, err = run("run", "yours", *nowhere, settings=BALLOON)
    assert status == 2
    *_, broken, said = err.splitlines()
    assert broken.endswith(
        "bad.py: cannot be imported: line 1: ZeroDivisionError: division by zero"
    )
    assert said == (
        "oomd: no notifier is named yours: there are balloon, mine (oomd notifiers check)"
    )


def test_run_of_a_built_in_without_a_daemon(
    run: Run, nowhere: list[str], drop_in: Callable[[str, str], Path]
) -> None:
    settings = '[notifiers.command.hello]\nargv = ["/bin/echo", "1048576"]\n'
    status, out, _ = run("run", "command.hello", "--json", *nowhere, settings=settings)
    assert status == 0
    assert json.loads(out)["claimed_bytes"] == 1 << 20


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["run"], "required: NAME"),
        (["run", "x", "--mib", "0"], "'0': expected a number of MiB from 1"),
        (["check", "--json"], "--json goes with list and run"),
        (["check", "no-such-plugin"], "no-such-plugin: cannot be read"),
    ],
)
def test_a_command_line_that_is_wrong(run: Run, words: list[str], problem: str) -> None:
    status, out, err = run(*words)
    assert status == 2
    assert problem in out + err
    assert len((out + err).splitlines()) == 1
