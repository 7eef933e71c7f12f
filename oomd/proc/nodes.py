"""``/proc/zoneinfo``: how much memory each NUMA node has."""

from oomd.mm_types import Node
from oomd.proc.root import Root, Unparsable

__all__ = ["parse_zoneinfo", "read_nodes"]

_FILE = "proc/zoneinfo"

_Zone = dict[bytes, int]

# MAX_NUMNODES, include/linux/numa.h: who makes a mask of nodes counts on it.
_MAX_NODES = 1024


def _pages(word: bytes) -> int:
    """Raises ValueError, also for more than there can be."""
    if len(word) > 20:
        raise ValueError
    return int(word)


def _nid(word: bytes) -> int:
    """Raises ValueError."""
    nid = int(word)
    if not 0 <= nid < _MAX_NODES:
        raise ValueError
    return nid


def _zones(data: bytes) -> list[tuple[int, _Zone]]:
    """Each zone's node, and its numbers of interest. Raises ValueError."""
    zones: list[tuple[int, _Zone]] = []
    for line in data.split(b"\n"):
        words = line.split()
        if len(words) >= 4 and words[0] == b"Node" and words[2] == b"zone":
            zones.append((_nid(words[1].rstrip(b",")), {}))
        elif zones and len(words) == 2 and (name := words[0].rstrip(b":")) in _NAMES:
            # The first one counts: a per-CPU or per-node counter may have the same name.
            zones[-1][1].setdefault(name, _pages(words[1]))
    return zones


_NAMES = (b"spanned", b"present", b"start_pfn")


def _node(nid: int, zones: list[_Zone]) -> Node:
    populated = [zone for zone in zones if zone.get(b"present")]
    present = sum(zone[b"present"] for zone in populated)
    spanned = 0
    if populated and all(b"start_pfn" in zone and b"spanned" in zone for zone in populated):
        # pgdat->node_spanned_pages: holes between the zones are in it.
        end_pfn = max(zone[b"start_pfn"] + zone[b"spanned"] for zone in populated)
        spanned = end_pfn - min(zone[b"start_pfn"] for zone in populated)
    return Node(nid, spanned or sum(zone.get(b"spanned", 0) for zone in populated), present)


def parse_zoneinfo(data: bytes) -> tuple[Node, ...]:
    """Nodes that have memory, by number; sizes in pages. Raises ``Unparsable``."""
    by_node: dict[int, list[_Zone]] = {}
    try:
        for nid, zone in _zones(data):
            by_node.setdefault(nid, []).append(zone)
    except ValueError:
        raise Unparsable(_FILE, "unparsable") from None
    nodes = [_node(nid, zones) for nid, zones in sorted(by_node.items())]
    return tuple(node for node in nodes if node.present_pages)


def read_nodes(root: Root) -> tuple[Node, ...]:
    """Raises ``ReadError``."""
    return parse_zoneinfo(root.read(_FILE))
