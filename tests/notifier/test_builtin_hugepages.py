"""Huge pages: taken out of their pools, and put back."""

from pathlib import Path

import pytest

from oomd.notifier.builtin.growth import RETRY_S
from oomd.notifier.builtin.hugepages import STEP_S, HugePages
from oomd.proc.root import Gone, Refused
from tests.notifier.kernel_files import KernelFiles, event, kernel_files

MIB = 1 << 20
WHOLE = "sys/kernel/mm/hugepages/hugepages-2048kB"
GIGANTIC = "sys/kernel/mm/hugepages/hugepages-1048576kB"
CALM_S = 60


@pytest.fixture
def root(tmp_path: Path) -> KernelFiles:
    return kernel_files(tmp_path)


def pool(
    root: KernelFiles, path: str, nr: int, free: int, *, reserved: int = 0, surplus: int = 0
) -> str:
    """A pool whose size can be set as the kernel lets it; its ``nr_hugepages``."""
    file = f"{path}/nr_hugepages"

    def show(total: int, unused: int) -> None:
        root.put(file, f"{total}\n")
        root.put(f"{path}/free_hugepages", f"{unused}\n")

    def resize(data: str) -> None:
        total, unused = int(root.text(file)), int(root.text(f"{path}/free_hugepages"))
        change = max(int(data) + surplus - total, -unused)
        show(total + change, unused + change)

    show(nr, free)
    root.put(f"{path}/resv_hugepages", f"{reserved}\n")
    root.put(f"{path}/surplus_hugepages", f"{surplus}\n")
    root.effects[file] = resize
    return file


def node(number: int, size: str = "hugepages-2048kB") -> str:
    return f"sys/devices/system/node/node{number}/hugepages/{size}"


def releaser(root: KernelFiles) -> HugePages:
    return HugePages(root, put_back_after_s=CALM_S, step_mib=8, keep_percent=25.0)


def put_back(one: HugePages, now: float) -> int:
    """Let it finish; how many steps that took."""
    steps = 0
    while (wait_s := one.calm(now)) is not None:
        assert wait_s != RETRY_S, "there was no room"
        now += wait_s
        steps += 1
    return steps


def test_only_what_nobody_has_or_was_promised_is_taken(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 20, 15, reserved=5)
    one = releaser(root)
    one.start()
    assert one.release(event()) == 10 * 2 * MIB
    assert root.written == [(file, "10")]
    assert one.release(event()) == 0


def test_it_is_put_back_in_steps_once_it_has_been_calm(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 20, 10)
    one = releaser(root)
    one.start()
    assert one.calm(0.0) is None
    one.storm()
    assert one.release(event()) == 20 * MIB
    assert one.calm(1000.0) == CALM_S
    assert root.text(file) == "10"
    # 8 MiB are four pages.
    assert one.calm(1060.0) == STEP_S
    assert root.text(file) == "14"
    put_back(one, 1061.0)
    assert root.text(file) == "20"
    assert one.missing_pools == 0


def test_surplus_pages_are_not_made_permanent(root: KernelFiles) -> None:
    # 12 in all, of which 2 are borrowed beyond the pool's size of 10.
    file = pool(root, WHOLE, 12, 6, surplus=2)
    one = releaser(root)
    one.start()
    assert one.release(event()) == 6 * 2 * MIB
    assert root.written == [(file, "4")]
    put_back(one, 0.0)
    assert root.written[-1] == (file, "10")


def test_each_node_gets_back_what_was_its_own(root: KernelFiles) -> None:
    # The pool of the machine is not written: that would spread pages over all nodes.
    pool(root, WHOLE, 12, 9, reserved=1)
    first, second = pool(root, node(0), 2, 1), pool(root, node(1), 10, 8)
    one = releaser(root)
    one.start()
    assert one.release(event()) == 8 * 2 * MIB
    assert (root.text(first), root.text(second)) == ("1", "3")
    put_back(one, 0.0)
    assert (root.text(first), root.text(second)) == ("2", "10")
    assert {path for path, _ in root.written} == {first, second}


def test_a_page_larger_than_a_step_comes_back_by_itself(root: KernelFiles) -> None:
    small, large = pool(root, WHOLE, 4, 4), pool(root, GIGANTIC, 2, 2)
    one = releaser(root)
    one.start()
    assert one.release(event()) == 2 * 1024 * MIB + 8 * MIB
    # The larger ones first.
    assert [path for path, _ in root.written] == [large, small]
    assert one.calm(0.0) == STEP_S
    assert root.text(large) == "1"
    put_back(one, 1.0)
    assert (root.text(small), root.text(large)) == ("4", "2")


def test_nothing_is_put_back_where_memory_is_not_plentiful(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 20, 10)
    one = releaser(root)
    one.start()
    one.release(event())
    root.memory(mem_available_kib=(4 << 20) + 1024)
    assert one.calm(0.0) == RETRY_S
    assert root.text(file) == "10"
    root.memory(mem_available_kib=12 << 20)
    put_back(one, 0.0)
    assert root.text(file) == "20"


def test_memory_too_scattered_is_tried_again(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 4, 4)
    one = releaser(root)
    one.start()
    one.release(event())
    whole = root.effects.pop(file)
    root.effects[file] = lambda data: None
    assert one.calm(0.0) == RETRY_S
    root.effects[file] = whole
    assert one.calm(10.0) is None
    assert root.text(file) == "4"


def test_a_pool_that_was_enlarged_meanwhile_is_left_alone(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 4, 4)
    one = releaser(root)
    one.start()
    one.release(event())
    root.effects[file]("9")
    assert one.calm(0.0) is None
    assert root.text(file) == "9"


def test_a_node_that_was_removed_is_forgotten(root: KernelFiles) -> None:
    pool(root, WHOLE, 4, 4)
    file = pool(root, node(0), 4, 4)
    one = releaser(root)
    one.start()
    one.release(event())
    Path(root.path, file).unlink()
    assert one.calm(0.0) is None


def test_it_says_that_it_may_not(root: KernelFiles) -> None:
    def refuse(data: str) -> None:
        raise PermissionError(13, "EACCES")

    root.effects[pool(root, WHOLE, 4, 4)] = refuse
    one = releaser(root)
    one.start()
    with pytest.raises(Refused, match="nr_hugepages: EACCES"):
        one.release(event())


def test_it_does_not_start_without_huge_pages(root: KernelFiles) -> None:
    with pytest.raises(Gone, match="hugepages: ENOENT"):
        releaser(root).start()


def test_what_a_killed_worker_took_is_put_back_by_the_next(
    root: KernelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/oomd")
    root.put("run/oomd/settings", "")
    file = pool(root, WHOLE, 20, 10)
    first = releaser(root)
    first.start()
    first.storm()
    first.release(event())
    # Nothing more is heard of the first one.
    second = releaser(root)
    second.start()
    assert second.calm(0.0) == CALM_S, "this is soon after a storm"
    put_back(second, 60.0)
    assert root.text(file) == "20"
    third = releaser(root)
    third.start()
    assert third.missing_pools == 0


def test_an_orderly_end_puts_them_back(root: KernelFiles) -> None:
    file = pool(root, WHOLE, 20, 10)
    one = releaser(root)
    one.start()
    one.release(event())
    one.close()
    assert root.text(file) == "20"


@pytest.mark.parametrize(
    "line",
    ["5 sys/../etc/hugepages-2048kB", "x sys/kernel/mm/hugepages/hugepages-2048kB", "5", "", "5 a"],
)
def test_nothing_else_is_written_to_whatever_was_kept(
    root: KernelFiles, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/oomd")
    root.put("run/oomd/hugepages", f"{line}\n\0\xff")
    pool(root, WHOLE, 4, 4)
    one = releaser(root)
    one.start()
    assert one.missing_pools == 0
    assert one.calm(0.0) is None
    one.close()
    assert root.written == []
