"""The files: which are read, in what order, whom they are trusted from, and what errors say."""

import os
import stat
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.config import ConfigError
from oomd.config_load import check_config, key_lines, load, search
from oomd.settings import Settings

VENDOR = "usr/lib/oomd/oomd.toml"
ADMIN = "etc/oomd/oomd.toml"


def tree(root: Path, files: dict[str, str]) -> str:
    """Writes the files below ``root`` and returns it as load() takes it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_no_file_at_all_is_the_defaults(tmp_path: Path) -> None:
    found = load(root=str(tmp_path))
    assert (found.settings, found.files, found.origins) == (Settings(), (), {})


def test_order_and_masking(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{ADMIN}.d/20-b.toml": "",
            f"{ADMIN}.d/10-a.toml": "",
            f"{ADMIN}.d/50-masked.toml": "",
            ADMIN: "",
            f"{VENDOR}.d/90-z.toml": "",
            f"{VENDOR}.d/50-masked.toml": "this is not even TOML",
            f"{VENDOR}.d/05-y.toml": "",
            VENDOR: "",
            f"{ADMIN}.d/.hidden.toml": "nor this",
            f"{ADMIN}.d/backup.toml~": "nor this",
            f"{ADMIN}.d/README": "nor this",
        },
    )
    expected = [
        VENDOR,
        f"{VENDOR}.d/05-y.toml",
        f"{VENDOR}.d/90-z.toml",
        ADMIN,
        f"{ADMIN}.d/10-a.toml",
        f"{ADMIN}.d/20-b.toml",
        f"{ADMIN}.d/50-masked.toml",
    ]
    assert search(root) == [f"{root}/{name}" for name in expected]
    assert load(root=root).files == tuple(f"{root}/{name}" for name in expected)


def test_a_link_to_dev_null_masks(tmp_path: Path) -> None:
    root = tree(tmp_path, {f"{VENDOR}.d/x.toml": "policy = 'auto'", f"{ADMIN}.d/y.toml": ""})
    (tmp_path / f"{ADMIN}.d/x.toml").symlink_to("/dev/null")
    found = load(root=root)
    assert found.files == (f"{root}/{ADMIN}.d/y.toml",)
    assert found.settings == Settings()


def test_later_files_win_key_by_key_and_each_value_knows_its_place(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            VENDOR: "policy = 'auto'\n[log]\ntop = 1\nkmsg = false\n",
            f"{VENDOR}.d/v.toml": "[log]\ntop = 2\n",
            ADMIN: "# ours\n[log]\n\ntop = 3\n",
            f"{ADMIN}.d/a.toml": "log.top = 4\n[watch]\ntripwire_ms = 80\n",
        },
    )
    found = load(root=root)
    assert found.settings == Settings(
        policy="auto",
        log=Settings().log._replace(top=4, kmsg=False),
        watch=Settings().watch._replace(tripwire_ms=80),
    )
    assert {key: str(origin) for key, origin in found.origins.items()} == {
        "policy": f"{root}/{VENDOR}:1",
        "log.kmsg": f"{root}/{VENDOR}:4",
        "log.top": f"{root}/{ADMIN}.d/a.toml:1",
        "watch.tripwire_ms": f"{root}/{ADMIN}.d/a.toml:3",
    }


def test_a_contradiction_between_files_is_blamed_on_one_that_set_it(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            VENDOR: "[notifiers]\ndeadline_ms = 900\n",
            ADMIN: "[notifiers]\nchain_deadline_ms = 800\n",
        },
    )
    with pytest.raises(ConfigError, match=f"^{root}/{VENDOR}:2: notifiers.deadline_ms: "):
        load(root=root)


def test_a_named_file_replaces_the_search(tmp_path: Path) -> None:
    root = tree(tmp_path, {ADMIN: "broken", "mine.toml": "log.top = 5"})
    found = load(f"{root}/mine.toml", root)
    assert found.settings.log.top == 5
    assert found.files == (f"{root}/mine.toml",)


BAD_FILES = [
    ("[watch]\ntripwire_ms = \n", "{}:2: is not TOML: "),
    ("log.top = 1\nlog.top = 2", "{}:2: is not TOML: Cannot overwrite a value"),
    ('policy = "el7', "{}:1: is not TOML: "),
    ("log.top = " + "9" * 5000, "{}: is not TOML: Exceeds the limit (4300 digits)"),
    ("a = " + "[" * 5000, "{}: is not TOML: nested too deeply"),
    ("# \udcff", "{}:1: is not UTF-8"),
    ("\n\n# \udcff", "{}:3: is not UTF-8"),
    ("#" * (256 * 1024 + 1), "{}: is too long (expected at most 256 KiB)"),
    (
        "# watch.tripwire_ms\n\n[watch]\n# tripwire_ms = 70\ntripwire_ms = '70'",
        '{}:5: watch.tripwire_ms: "70" is a string',
    ),
    ("[log]\ntop = 1\n\n[watsh]\nx = 1", "{}:4: watsh: unknown key, did you mean watch?"),
]


@pytest.mark.parametrize(("text", "error"), BAD_FILES, ids=[error for _, error in BAD_FILES])
def test_bad_file(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "oomd.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    status, line = check_config(str(path))
    assert status == 2
    assert line.startswith(error.format(path)), line
    assert line.isprintable()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    fifo, folder, gone = (str(tmp_path / name) for name in ("fifo", "folder", "go\nne"))
    os.mkfifo(fifo)
    Path(folder).mkdir()
    assert check_config(fifo) == (2, f"{fifo}: is not a regular file")
    assert check_config(folder) == (2, f"{folder}: cannot be read: Is a directory")
    shown = gone.replace("\n", "\\n")
    assert check_config(gone) == (2, f"{shown}: cannot be read: No such file or directory")
    assert check_config("nul\0") == (2, "nul\\x00: cannot be read: embedded null byte")


def test_a_dangling_link_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "etc/oomd").mkdir(parents=True)
    (tmp_path / ADMIN).symlink_to("nowhere")
    status, line = check_config(root=str(tmp_path))
    assert (status, line) == (2, f"{tmp_path}/{ADMIN}: cannot be read: No such file or directory")


def test_a_drop_in_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str) -> list[str]:
        raise PermissionError(13, "Permission denied", folder)

    # Root may list any folder, and the tests may be run by root.
    monkeypatch.setattr(os, "listdir", refuse)
    status, line = check_config(root=str(tmp_path))
    assert (status, line) == (2, f"{tmp_path}/{ADMIN}.d: cannot be read: Permission denied")


OWNERS = [
    (0, 0, 0o644, ""),
    (0, 0, 0o664, ""),
    (0, 5, 0o640, ""),
    (1000, 0, 0o600, "FILE: belongs to uid 1000 (expected chown root FILE)"),
    (0, 5, 0o664, "FILE: can be written by gid 5 (expected chmod go-w FILE)"),
    (0, 0, 0o666, "FILE: can be written by others (expected chmod go-w FILE)"),
]


@pytest.mark.parametrize(("uid", "gid", "mode", "error"), OWNERS)
def test_whose_file_root_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uid: int, gid: int, mode: int, error: str
) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text("log.top = 5")
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, uid, gid, 11, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda fd: status)
    if error:
        with pytest.raises(ConfigError) as caught:
            load(str(path), roots_only=True)
        assert str(caught.value) == error.replace("FILE", str(path))
    else:
        assert load(str(path), roots_only=True).settings.log.top == 5
    # A draft may be anyone's.
    assert check_config(str(path)) == (0, f"OK: {path}")


TRICKY = '''\
policy = "auto"   # [watch]
exhaustion.available_percent = 4
"log".'top' = 5
notifiers = { deadline_ms = 100,  chain_deadline_ms = 300 }

text = """
[kill]
futile_kills = 9
"""
list = [
  "[panic]",
  # [panic]
]
[ watch ]   # cgroup = "/x"
# tripwire_ms = 1
min_sleep_ms = 20
"max_sleep_s" = 3
[panic]
none_killable = "reboot"\r
[[array]]
[[array]]
[a.b]
c = 1
[notifiers2.command.'x.y']
argv = ["a"]
too = { deep.to = 1, b = 2 }
'''


def test_lines_of_keys() -> None:
    tomllib.loads(TRICKY)
    assert key_lines(TRICKY) == {
        "policy": 1,
        "exhaustion": 2,
        "exhaustion.available_percent": 2,
        "log": 3,
        "log.top": 3,
        "notifiers": 4,
        "notifiers.deadline_ms": 4,
        "notifiers.chain_deadline_ms": 4,
        "text": 6,
        "list": 10,
        "watch": 14,
        "watch.min_sleep_ms": 16,
        "watch.max_sleep_s": 17,
        "panic": 18,
        "panic.none_killable": 19,
        "array": 20,
        "a": 22,
        "a.b": 22,
        "a.b.c": 23,
        "notifiers2": 24,
        "notifiers2.command": 24,
        "notifiers2.command.x.y": 24,
        "notifiers2.command.x.y.argv": 25,
        "notifiers2.command.x.y.too": 26,
    }


def test_an_endless_array_costs_the_lines_behind_it_and_no_more() -> None:
    assert key_lines("a = 1\nb = [\n" + "1,\n" * 20000 + "]\nc = 1") == {"a": 1}


_PIECES = st.sampled_from(
    ["[watch]\n", "[a.b]\n", "[[c]]\n", "tripwire_ms = 70\n", 'x = """\n', '"""\n', "y = [\n"]
    + ["]\n", "# [kill]\n", "\n", "log.top = 3\n", "'p.q' = 1\n", "kill = {a = 1, b = 2}\n", "\r\n"]
)


@given(st.one_of(st.lists(_PIECES).map("".join), st.text()))
def test_every_key_of_a_good_file_has_its_line(text: str) -> None:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    source = text.split("\n")
    # Nothing here is nested deeper than a key's four parts.
    todo, keys = list(content.items()), set[str]()
    for name, value in todo:
        keys.add(name)
        todo += (
            [(f"{name}.{inner}", v) for inner, v in value.items()] if type(value) is dict else []
        )
    assert lines.keys() == keys
    for key, line in lines.items():
        last = key.rpartition(".")[2]
        assert last in source[line - 1] or ascii(last) != repr(last) or not last.isprintable()


@given(st.binary(max_size=200))
def test_no_file_raises_anything_but_config_error(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        status, line = check_config(file.name)
    assert status in (0, 2) and line.isprintable()
