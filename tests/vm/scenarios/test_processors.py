"""How the guard comes by a processor when everybody wants one."""

from collections.abc import Callable

import pytest

from tests.vm.scenarios.guarded import Guarded

pytestmark = pytest.mark.vm


def scheduled(guard: Guarded) -> list[str]:
    """Class and niceness of the guard's own thread, as ps(1) has them."""
    ps = ["ps", "-o", "cls=,ni=", "-p", guard.main_pid]
    return guard.machine.run(ps).stdout.split()


def test_it_is_real_time_where_there_is_one_for_the_others(guard: Guarded) -> None:
    assert scheduled(guard) == ["RR", "-"]


def test_the_only_one_is_everybodys(boot_guarded: Callable[..., Guarded]) -> None:
    guard = boot_guarded(cpus=1)
    assert scheduled(guard) == ["TS", "-20"]
    # Four at once, so that there is always somebody else to run.
    hogs = [guard.hog("--forever") for _ in range(4)]
    for hog in hogs:
        assert hog.died_of() == 9
    guard.check_untouched()
