"""What the sentinel uses of ``signal`` and ``collections``: their C halves.

The other halves add enumerations of signals, and classes that nobody here uses, for 0.4 MB of
locked memory. A signal is a plain number here.
"""

from oomd.typed import TYPE_CHECKING

__all__ = ["deque", "signal"]

if TYPE_CHECKING:
    import signal
    from collections import deque
else:
    import _signal as signal
    from _collections import deque
