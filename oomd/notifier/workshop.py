"""What everybody in the worker needs, and the small things that they share."""

import selectors
from collections.abc import Callable
from typing import NamedTuple

from oomd.notifier.chain import OomNotifyList
from oomd.notifier.plan import Plan
from oomd.notifier.waiting import Waiter

__all__ = ["Workshop"]


class Workshop(NamedTuple):
    """What everybody in the worker needs."""

    plan: Plan
    notifiers: OomNotifyList
    selector: selectors.BaseSelector
    """The data of each descriptor is what to call when it is ready."""
    waiter: Waiter
    say: Callable[[int, str], None]
    most_bytes: Callable[[], int]
    """How much memory the machine has."""
