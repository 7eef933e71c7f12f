"""Loading a plugin: what is taken, and that every refusal names the plugin and says why."""

import sys
from pathlib import Path
from typing import Any

import pytest

from oomd.notifier import NOTIFY_STOP
from oomd.notifier.load import PluginError, load
from tests.notifier.plugin_files import EVENT, GOOD, Write, decorated, load_file, refusal, writer


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_a_good_one(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(GOOD)
    plugin = load_file(path)
    assert plugin[:5] == ("mine", 5, None, str(path), True)
    assert plugin.release(EVENT) == NOTIFY_STOP((1 << 20) + 16)
    assert capsys.readouterr().out == "16 0.5 False here []\n"


def test_its_table(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    table = {
        "priority": -7,
        "deadline_ms": 100,
        "keep_mib": 1,
        "share": 2,
        "eager": True,
        "where": "",
        "paths": ["a", "b"],
    }
    plugin = load_file(write(GOOD), table)
    assert plugin[:3] == ("mine", -7, 100)
    plugin.release(EVENT)
    assert capsys.readouterr().out == "1 2.0 True  ['a', 'b']\n"


def test_a_deadline_of_0_is_none_of_its_own(write: Write) -> None:
    assert load_file(write(GOOD), {"deadline_ms": 0}).deadline_ms is None


def test_switched_off_it_is_loaded_and_its_options_do_not_matter(write: Write) -> None:
    assert not load_file(write(GOOD), {"enabled": False, "gone": 1}).enabled


@pytest.mark.parametrize(
    "annotation", ["from __future__ import annotations", "import typing as t; int = t.Any"]
)
def test_types_written_as_strings(write: Write, annotation: str) -> None:
    path = write(f"""
        {annotation}
        from typing import TYPE_CHECKING, List
        from oomd.notifier import oom_notifier
        if TYPE_CHECKING:
            from oomd.notifier import OomEvent

        @oom_notifier("mine")
        def release(event: "OomEvent", *, some: "List[str]", more: "list[str]" = []) -> "int":
            return len(some + more)
    """)
    assert load_file(path, {"some": ["x"], "more": ["y", "z"]}).release(EVENT) == 3
    assert "option some is missing (expected an array of strings)" in refusal(path)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"kep_mib": 1}, "option kep_mib is unknown, did you mean keep_mib? (it has keep_mib,"),
        ({"x" * 99: 1}, "option " + "x" * 57 + "... is unknown (it has"),
        ({"keep_mib": "1"}, "option keep_mib: '1' is a string (expected an integer)"),
        ({"keep_mib": True}, "option keep_mib: True is a boolean (expected an integer)"),
        ({"keep_mib": 1.5}, "option keep_mib: 1.5 is a number (expected an integer)"),
        ({"share": "2"}, "option share: '2' is a string (expected a number)"),
        ({"share": float("nan")}, "option share: nan is a number (expected a number)"),
        ({"eager": 1}, "option eager: 1 is an integer (expected a boolean)"),
        ({"where": ["x"]}, "option where: ['x'] is an array of strings (expected a string)"),
        ({"paths": "x"}, "option paths: 'x' is a string (expected an array of strings)"),
        ({"paths": ["x", 1]}, "option paths: ['x', 1] is an array (expected an array of strings)"),
        ({"where": {"a": 1}}, "option where: {'a': 1} is a table (expected a string)"),
        ({"where": 10**5000}, "option where: of type int is an integer (expected a string)"),
        ({"priority": 1001}, "priority is not a whole number from -1000 to 1000"),
        ({"priority": True}, "priority is not a whole number"),
        ({"deadline_ms": -1}, "deadline_ms is not a whole number from 1 to 10000"),
        ({"enabled": "no"}, "enabled is not true or false"),
    ],
)
def test_a_table_that_does_not_fit(write: Write, table: dict[str, Any], problem: str) -> None:
    assert refusal(write(GOOD), table).startswith(f"mine: {problem}")


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("(): return 0", "takes no event, expected release(event, *, option: type = default"),
        ("(*event): return 0", "takes no event"),
        ("(*, event: int): return 0", "takes no event"),
        ("(event, keep: int): return 0", "parameter keep: int is not keyword-only"),
        ("(event, **options): return 0", "parameter **options is not keyword-only"),
        ("(event, *, keep=1): return 0", "option keep: has no type, write keep: bool, int,"),
        ("(event, *, keep: bytes): return 0", "option keep: its type is bytes, which is none of"),
        ("(event, *, keep: int | None = None): return 0", "option keep: its type is int | None"),
        ("(event, *, keep: list = []): return 0", "option keep: its type is list, which is none"),
        ("(event, *, keep: list[int] = []): return 0", "option keep: its type is list[int]"),
        ("(event, *, keep: 'Gone' = 1): return 0", "option keep: its type Gone cannot be resolved"),
        ("(event, *, keep: int = 1.5): return 0", "option keep: the default 1.5 is not an integer"),
        ("(event, *, keep: int = True): return 0", "option keep: the default True is not an int"),
        ("(event, *, priority: int = 1): return 0", "option priority: every notifier has priority"),
        ("(event): yield 0", "is a generator: it has to free memory before it returns"),
    ],
)
def test_a_signature_that_cannot_be_called(write: Write, rest: str, problem: str) -> None:
    assert refusal(write(decorated(rest=rest))).startswith(f"mine: {problem}")


def test_a_coroutine(write: Write) -> None:
    text = decorated().replace("def release", "async def release")
    assert refusal(write(text)).startswith("mine: is a coroutine")


@pytest.mark.parametrize(
    ("decorator", "problem"),
    [
        ('@oom_notifier("two words")', "'two words' is not a notifier's name (1 to 64 letters"),
        ("@oom_notifier(7)", "7 is not a notifier's name"),
        ('@oom_notifier("balloon")', "balloon: this name is oomd's own"),
        ('@oom_notifier("command.mine")', "command.mine: this name is oomd's own"),
        ('@oom_notifier("deadline_ms")', "deadline_ms: this name is oomd's own"),
        ('@oom_notifier("mine", api=2)', "mine: asks for version 2 of the plugin interface"),
        ('@oom_notifier("mine", priority=1001)', "mine: priority 1001 is not from -1000 to 1000"),
        ('@oom_notifier("mine", priority=True)', "mine: priority True is not from"),
        ("@oom_notifier", '@oom_notifier has no name: write @oom_notifier("a-name")'),
        ("@staticmethod", 'no function is decorated: write @oom_notifier("a-name")'),
    ],
)
def test_a_decorator_that_is_wrong(write: Write, decorator: str, problem: str) -> None:
    assert refusal(write(decorated(decorator))).startswith(problem)


def test_two_in_one_file(write: Write) -> None:
    text = decorated() + '@oom_notifier("other")\ndef other(event): return 0\n'
    assert refusal(write(text)) == "has 2 notifiers (mine, other): one to a file, split it"


def test_one_function_under_two_names(write: Write) -> None:
    assert load_file(write(decorated() + "again = release\n")).name == "mine"


def test_a_wrapped_one_is_called_with_its_wrapper(write: Write) -> None:
    path = write("""
        import functools
        from oomd.notifier import oom_notifier

        def doubled(inner):
            @functools.wraps(inner)
            def outer(*args, **kwargs):
                return 2 * inner(*args, **kwargs)
            return outer

        @doubled
        @oom_notifier("mine")
        def release(event, *, keep: int = 3):
            return keep
    """)
    assert load_file(path, {"keep": 4}).release(EVENT) == 8


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n\ndef release(:\n", "line 3: invalid syntax"),
        (
            "\nraise RuntimeError('no\\nway')\n",
            r"cannot be imported: line 2: RuntimeError: no\nway",
        ),
        ("import sys\nsys.exit(3)\n", "cannot be imported: line 2: SystemExit: 3"),
        ("import no_such_module\n", "cannot be imported: line 1: ModuleNotFoundError: No module"),
        ("x = '\\ud800'; raise ValueError(x)\n", r"cannot be imported: line 1: ValueError: \ud800"),
        ("def f(): f()\nf()\n", "cannot be imported: line 1: RecursionError: maximum recursion"),
        ("raise ValueError('x' * 10000)\n", "cannot be imported: line 1: ValueError: xxxx"),
        (
            "class Mute(Exception):\n    def __str__(self): raise OSError\nraise Mute\n",
            "cannot be imported: line 3: Mute: (it does not say why)",
        ),
        ("", "no function is decorated"),
    ],
)
def test_code_that_does_not_run(write: Write, text: str, problem: str) -> None:
    said = refusal(write(text))
    assert said.startswith(problem)
    assert len(said) <= 480


def test_hostile_content_is_no_plugin_and_no_crash(write: Write) -> None:
    path = write(
        decorated()
        + "class Odd:\n    def __getattr__(self, name): raise RuntimeError(name)\n"
        + "odd = Odd()\n"
    )
    assert load_file(path).name == "mine"


def test_a_file_that_looks_itself_up(write: Write) -> None:
    path = write(
        "import dataclasses, __future__\n@dataclasses.dataclass\nclass C:\n    x: 'int' = 1\n"
        + decorated()
        + "assert __file__.endswith('mine.py')\n"
    )
    assert load_file(path).name == "mine"


# --- entry points


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"oomd_test_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        decorated() + "class Holder:\n    release = staticmethod(release)\nplain = len\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import sys\nsys.exit('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize("attr", ["release", "Holder.release", ""])
def test_an_entry_point(package: str, attr: str) -> None:
    plugin = load({"source": "entry point mine", "module": package, "attr": attr}, {})
    assert plugin.source == "entry point mine"
    assert plugin.release(EVENT) == 0


@pytest.mark.parametrize(
    ("module", "attr", "problem"),
    [
        ("{}", "plain", "{}.plain is not decorated: write @oom_notifier"),
        ("{}", "gone", "{}:gone cannot be imported: AttributeError: module"),
        ("{}_broken", "release", "{}_broken:release cannot be imported: SystemExit: no"),
        ("no_such_module", "x", "no_such_module:x cannot be imported: ModuleNotFoundError"),
    ],
)
def test_an_entry_point_that_leads_nowhere(
    package: str, module: str, attr: str, problem: str
) -> None:
    entry = {"source": "entry point mine", "module": module.format(package), "attr": attr}
    with pytest.raises(PluginError) as caught:
        load(entry, {})
    assert str(caught.value).startswith(f"entry point mine: {problem.format(package)}")


def test_a_drafts_folders_to_import_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "oomd_test_draft_module.py").write_text(decorated())
    entry = {"source": "mine", "module": "oomd_test_draft_module", "attr": "release"}
    with pytest.raises(PluginError):
        load({**entry, "path": [str(tmp_path)]}, {})
    assert load({**entry, "draft": True, "path": [str(tmp_path)]}, {}).name == "mine"
