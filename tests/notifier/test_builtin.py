"""The table of built-ins, and the small releasers: drop_caches, compact, drm."""

import re
from pathlib import Path

import pytest

from oomd.notifier.builtin import make
from oomd.notifier.builtin.drm import Card, cards
from oomd.notifier.load import RESERVED
from oomd.notifier_options import BUILTIN, PRIORITY_MAX, Builtin, builtin_named
from oomd.proc.root import Gone, ReadError, Refused, Unparsable
from tests.notifier.kernel_files import KernelFiles, event, kernel_files

REQUIRED: dict[str, dict[str, object]] = {
    "balloon": {"size_mib": 4},
    "command": {"argv": ["/bin/true"]},
}


@pytest.fixture
def root(tmp_path: Path) -> KernelFiles:
    return kernel_files(tmp_path)


# --- the table


@pytest.mark.parametrize("one", BUILTIN.values(), ids=lambda one: one.name)
def test_each_is_made_from_its_defaults(root: KernelFiles, one: Builtin) -> None:
    name = "command.mine" if one.name == "command" else one.name
    options = {**one.defaults, **REQUIRED.get(one.name, {})}
    assert make(name, options, root).name == name
    # What has a default may be left out.
    assert make(name, REQUIRED.get(one.name, {}), root).name == name
    assert root.written == []


@pytest.mark.parametrize("one", BUILTIN.values(), ids=lambda one: one.name)
def test_each_row_is_whole(one: Builtin) -> None:
    assert [option.name for option in one.options[:3]] == ["enabled", "priority", "deadline_ms"]
    assert -PRIORITY_MAX <= int(str(one.defaults["priority"])) <= PRIORITY_MAX
    for option in one.options:
        assert option.help.endswith(".")
        if option.kind in ("integer", "number"):
            assert option.minimum is not None and option.maximum is not None
            assert isinstance(option.default, int | float)
            inside = option.minimum <= option.default <= option.maximum
            assert inside or option.default == option.off
        if option.choices:
            assert option.default in option.choices


def test_their_names_are_reserved() -> None:
    assert set(BUILTIN) <= RESERVED


def test_what_frees_without_a_loss_is_called_first() -> None:
    priorities = [int(str(one.defaults["priority"])) for one in BUILTIN.values()]
    assert priorities == sorted(priorities, reverse=True)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("baloon", {}, "baloon: there is no such built-in notifier"),
        ("command", {"argv": ["/bin/true"]}, "command: there is no such"),
        ("command.", {"argv": ["/bin/true"]}, "command.: there is no such"),
        ("balloon", {}, "balloon: option size_mib is missing"),
        ("command.x", {}, "command.x: option argv is missing"),
        ("compact", {"zramm": True}, "compact: option 'zramm' is unknown .*zram"),
    ],
)
def test_what_cannot_be_made_is_named(
    root: KernelFiles, name: str, options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        make(name, options, root)


def test_commands_have_names_of_their_own() -> None:
    assert builtin_named("command.a.b") is BUILTIN["command"]
    assert builtin_named("command") is None
    assert builtin_named("commando.x") is None


# --- drop_caches


DROP = "proc/sys/vm/drop_caches"


@pytest.mark.parametrize(("mode", "written"), [("pagecache", "1"), ("slab", "2"), ("both", "3")])
def test_drop_caches_claims_what_mem_free_has_grown_by(
    root: KernelFiles, mode: str, written: str
) -> None:
    root.put(DROP, "0")
    root.effects[DROP] = lambda data: root.memory(mem_free_kib=(8 << 20) + 300)
    releaser = make("drop_caches", {"mode": mode}, root)
    releaser.start()
    assert root.written == []
    assert releaser.release(event()) == 300 * 1024
    assert root.written == [(DROP, written)]


def zoneinfo(pages: int) -> str:
    """A machine with so many pages in the list of its one processor."""
    return f"Node 0, zone   Normal\n  pagesets\n    cpu: 0\n              count:    {pages}\n"


def test_drop_caches_claims_what_is_in_the_per_cpu_lists_at_first(root: KernelFiles) -> None:
    def to_the_lists(data: str) -> None:
        root.put("proc/zoneinfo", zoneinfo(1000))

    root.put(DROP, "0")
    root.put("proc/zoneinfo", zoneinfo(50))
    root.effects[DROP] = to_the_lists
    assert make("drop_caches", {}, root).release(event()) == 950 * root.page_size_bytes()


def test_drop_caches_claims_nothing_if_others_were_faster(root: KernelFiles) -> None:
    root.put(DROP, "0")
    root.effects[DROP] = lambda data: root.memory(mem_free_kib=1 << 20)
    assert make("drop_caches", {}, root).release(event()) == 0


def test_drop_caches_does_not_start_where_there_is_none(root: KernelFiles) -> None:
    with pytest.raises(ReadError, match="drop_caches: is not there"):
        make("drop_caches", {}, root).start()


def test_drop_caches_says_that_it_may_not(root: KernelFiles) -> None:
    def refuse(data: str) -> None:
        raise PermissionError(1, "EPERM")

    root.put(DROP, "0")
    root.effects[DROP] = refuse
    with pytest.raises(Refused, match="drop_caches: EPERM"):
        make("drop_caches", {}, root).release(event())


# --- compact


def zram(root: KernelFiles, name: str, used_bytes: int, after_bytes: int = -1) -> str:
    """A zram device with so much in it, and what compaction leaves of it."""
    device = f"sys/block/{name}"
    root.put(f"{device}/initstate", "1\n")
    root.put(f"{device}/mm_stat", f"  9000 4000 {used_bytes} 0 {used_bytes} 0 0 0 0\n")
    root.put(f"{device}/compact", "")

    def compact(data: str) -> None:
        root.put(f"{device}/mm_stat", f"  9000 4000 {after_bytes} 0 {used_bytes} 0 0 0 0\n")

    if after_bytes >= 0:
        root.effects[f"{device}/compact"] = compact
    return f"{device}/compact"


def test_compact_sums_up_what_the_pools_have_shrunk_by(root: KernelFiles) -> None:
    files = [zram(root, "zram0", 5000, 4100), zram(root, "zram1", 300, 300)]
    root.put("sys/block/sda/size", "1")
    root.put("sys/block/zram2/initstate", "0\n")
    root.put("sys/block/zram2/compact", "")
    releaser = make("compact", {}, root)
    releaser.start()
    assert releaser.release(event()) == 900
    assert root.written == [(file, "1") for file in files]


def test_compact_goes_on_after_a_device_that_fails(root: KernelFiles) -> None:
    def fail(data: str) -> None:
        raise OSError(22, "EINVAL")

    root.effects[zram(root, "zram0", 5000)] = fail
    zram(root, "zram1", 5000, 1000)
    assert make("compact", {}, root).release(event()) == 4000


def test_compact_says_why_if_none_could_be_compacted(root: KernelFiles) -> None:
    zram(root, "zram0", 5000)
    root.put("sys/block/zram0/mm_stat", "torn\n")
    with pytest.raises(Unparsable, match="zram0/mm_stat: has no mem_used_total"):
        make("compact", {}, root).release(event())


def test_compact_of_all_memory_frees_nothing(root: KernelFiles) -> None:
    zram(root, "zram0", 5000, 1000)
    releaser = make("compact", {"zram": False, "memory": True}, root)
    with pytest.raises(Gone, match="CONFIG_COMPACTION"):
        releaser.start()
    root.put("proc/sys/vm/compact_memory", "")
    releaser.start()
    assert releaser.release(event()) == 0
    assert root.written == [("proc/sys/vm/compact_memory", "1")]


# --- drm


def card(root: KernelFiles, number: int, driver: str, file: str = "") -> str:
    """A card, and the file in debugfs that drops its caches."""
    root.put(f"sys/class/drm/card{number}/dev", f"226:{number}\n")
    root.put(f"sys/class/drm/card{number}-HDMI-A-1/status", "connected\n")
    root.put(f"sys/class/drm/renderD{128 + number}/dev", f"226:{128 + number}\n")
    root.link(f"sys/class/drm/card{number}/device/driver", f"../../../bus/pci/drivers/{driver}")
    path = f"sys/kernel/debug/dri/{number}/{file or 'name'}"
    root.put(path, "")
    return path


def test_drm_asks_the_drivers_that_can(root: KernelFiles) -> None:
    intel = card(root, 0, "i915", "i915_gem_drop_caches")
    card(root, 1, "bochs-drm")
    root.effects[intel] = lambda data: root.memory(mem_free_kib=(8 << 20) + 64)
    found = cards(root)
    assert [(one.name, one.driver, bool(one.drop)) for one in found] == [
        ("card0", "i915", True),
        ("card1", "bochs-drm", False),
    ]
    releaser = make("drm", {}, root)
    releaser.start()
    assert releaser.release(event()) == 64 * 1024
    # UNBOUND, BOUND, RETIRE and FREED; nothing that waits for the card or resets it.
    assert root.written == [(intel, "0x17")]


def test_drm_has_nothing_to_drop_on_other_cards(root: KernelFiles) -> None:
    card(root, 0, "virtio_gpu")
    releaser = make("drm", {}, root)
    releaser.start()
    root.memory(mem_free_kib=1)
    assert releaser.release(event()) == 0
    assert root.written == []


def test_drm_without_any_card(root: KernelFiles) -> None:
    assert cards(root) == []
    root.put("sys/kernel/debug/sched/features", "")
    releaser = make("drm", {}, root)
    releaser.start()
    assert releaser.release(event()) == 0


def test_drm_says_that_debugfs_is_not_mounted(root: KernelFiles) -> None:
    Path(root.path, "sys/kernel/debug").mkdir(parents=True)
    with pytest.raises(Refused, match=re.escape("systemctl start sys-kernel-debug.mount")):
        make("drm", {}, root).start()


def test_drm_says_that_it_may_not(root: KernelFiles) -> None:
    def refuse(data: str) -> None:
        raise PermissionError(1, "EPERM")

    root.effects[card(root, 0, "i915", "i915_gem_drop_caches")] = refuse
    with pytest.raises(Refused, match="i915_gem_drop_caches: EPERM"):
        make("drm", {}, root).release(event())


def test_a_card_whose_driver_does_not_say(root: KernelFiles) -> None:
    root.put("sys/class/drm/card3/dev", "226:3\n")
    assert cards(root) == [Card("card3", "")]
