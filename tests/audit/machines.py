"""Fake machines of a million pages without swap, small enough to reckon in one's head."""

from oomd.mm_types import PF_KTHREAD, MemInfo
from tests.roots import Row

__all__ = ["AMPLE", "DB", "HOG", "INIT", "KTHREAD", "SHORT", "SSHD", "TASKS", "TOTALPAGES"]

TOTALPAGES = 1_000_000
AMPLE = MemInfo(mem_total_kib=4_000_000, mem_free_kib=1_000_000, mem_available_kib=2_000_000)
# 5 % of the memory are 200,000 KiB.
SHORT = AMPLE._replace(mem_free_kib=100_000, mem_available_kib=150_000)

INIT: Row = {"pid": 1, "comm": "systemd", "rss_pages": 3000}
KTHREAD: Row = {"pid": 2, "comm": "kthreadd", "flags": PF_KTHREAD}
HOG: Row = {"pid": 10, "comm": "hog", "rss_pages": 499_000, "pgtables_pages": 1000, "uid": 1000}
DB: Row = {"pid": 11, "comm": "db", "rss_pages": 100_000, "swapents_pages": 7, "uid": 26}
SSHD: Row = {"pid": 12, "comm": "sshd", "rss_pages": 2000, "oom_score_adj": -1000}

TASKS: list[Row] = [INIT, KTHREAD, HOG, DB, SSHD]
