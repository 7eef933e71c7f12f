"""Options of all tests."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SCENARIOS = TESTS / "vm/scenarios"
# Half of the time that everything takes: most scenarios, on the machine that they share.
OF_THE_OTHER_HALF = {"test_notifiers.py", "test_package.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--half",
        type=int,
        choices=(1, 2),
        help="only the tests of this half: tests/run has both run at once, on a processor each",
    )


def _half(path: Path) -> int:
    return 1 if path.parent == SCENARIOS and path.name not in OF_THE_OTHER_HALF else 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("half")
    if wanted is None:
        return
    others = [item for item in items if _half(item.path) != wanted]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if _half(item.path) == wanted]
