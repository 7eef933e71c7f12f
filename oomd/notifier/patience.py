"""What the programs of one user may cost together: whoever may start one may start eight."""

__all__ = ["Patience"]


class Patience:
    """Root's programs are bounded one by one; all of another user's together as well.

    Times are ``time.monotonic()``.
    """

    def __init__(self) -> None:
        self.storm_since: float | None = None
        """When the first chain of this storm was called; None: it is calm."""
        self._spent_s: dict[int, float] = {}
        self._late: set[int] = set()

    def begin_chain(self, now: float) -> None:
        """A chain is about to run, the first of its storm or another one."""
        if self.storm_since is None:
            self.storm_since = now
        self._spent_s.clear()

    def calm(self) -> None:
        """The storm is over."""
        self.storm_since = None
        self._spent_s.clear()
        self._late.clear()

    def took(self, uid: int, seconds: float, *, late: bool) -> None:
        """A program of this user was asked. ``late``: it was left behind."""
        if uid == 0 or self.storm_since is None:
            return
        self._spent_s[uid] = self._spent_s.get(uid, 0.0) + seconds
        if late:
            self._late.add(uid)

    def why_not(self, uid: int, allowed_s: float) -> str:
        """Why no program of this user is asked now. Empty: they may be.

        ``allowed_s``: once they have used up so much of a chain, it goes on without the others.
        """
        if uid in self._late:
            return f"a program of uid {uid} was left behind earlier in this storm"
        if self._spent_s.get(uid, 0.0) >= allowed_s:
            return f"the programs of uid {uid} have used up their time in this chain"
        return ""
