"""Which control groups are meant: those that match a path, and those that carry a mark."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate

from oomd.proc.cgroup import cgroup_path
from oomd.proc.root import ReadError, Root

__all__ = ["CgroupChoice"]


_WILD = frozenset("*?[")


class _Pattern:
    """A path in which each part may have ``*``, ``?`` and ``[...]``; they match no slash."""

    def __init__(self, text: str) -> None:
        parts = [part for part in cgroup_path(text).split("/") if part]
        self._parts = [re.compile(translate(part)) for part in parts]

    def matches(self, parts: Sequence[str]) -> bool:
        return len(parts) == len(self._parts) and self.leads_through(parts)

    def leads_through(self, parts: Sequence[str]) -> bool:
        """Whether these can be the first parts of what it matches."""
        return len(parts) <= len(self._parts) and all(
            pattern.match(part) for pattern, part in zip(self._parts, parts, strict=False)
        )


class CgroupChoice:
    """Walks the hierarchy, a few groups at a time."""

    def __init__(self, root: Root, mount: str, patterns: Sequence[str], xattr: str) -> None:
        """Raises ReadError (Unparsable): a path that leads out of the hierarchy."""
        self._root = root
        self._mount = mount
        self._patterns = [_Pattern(pattern) for pattern in patterns]
        self._xattr = xattr
        self.literal = tuple(
            "/".join((mount, *(part for part in cgroup_path(text).split("/") if part)))
            for text in patterns
            if not _WILD.intersection(text)
        )
        """Those that need no looking for: they are meant whether they are there or not."""

    def walk(self) -> Iterator[str | None]:
        """The groups that are meant, relative to the root; None for each that was passed by.

        Nothing below a group that is meant: it is in it already. Never raises: groups come and go.
        """
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            path = "/".join((self._mount, *parts))
            if self._is_meant(path, parts):
                yield path
                continue
            yield None
            if not self._xattr and not any(one.leads_through(parts) for one in self._patterns):
                continue
            try:
                names = self._root.subdirs(path)
            except ReadError:
                continue
            waiting += [(*parts, name) for name in reversed(names)]

    def _is_meant(self, path: str, parts: Sequence[str]) -> bool:
        if any(pattern.matches(parts) for pattern in self._patterns):
            return True
        # As systemd-oomd has it for its own marks: "1" says yes.
        return bool(self._xattr) and self._root.xattr(path, self._xattr) == b"1"
