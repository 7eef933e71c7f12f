"""Sentences that the daemon's start and the audit both say."""

from oomd.mm_types import Sysctls
from oomd.oom import Notified, NotifierChain
from oomd.proc.probe import Probe
from oomd.settings import PanicAction, Settings

__all__ = [
    "chain_words",
    "freed_words",
    "machine_words",
    "notified_words",
    "panic_words",
    "threshold_words",
]

_ACTION_WORDS: dict[PanicAction, str] = {
    "sysrq": "the machine is crashed by sysrq, so that kdump sees it",
    "reboot": "the machine is rebooted at once",
    "defer": "oomd kills nobody and leaves it to the kernel",
}


def panic_words(settings: Settings, sysctls: Sysctls) -> tuple[str, str]:
    """What would happen where the kernel would panic: at step 3, and at step 6."""
    action = _ACTION_WORDS[settings.panic.panic_on_oom]
    if sysctls.panic_on_oom:
        first = f"vm.panic_on_oom is {sysctls.panic_on_oom}: when memory is short, {action}"
    else:
        first = f"vm.panic_on_oom is 0: no panic (if it is set: {action})"
    return first, f"if nothing is killable: {_ACTION_WORDS[settings.panic.none_killable]}"


def threshold_words(settings: Settings) -> str:
    """The two thresholds in one sentence."""
    out, stall = settings.exhaustion, settings.stall
    words = (
        f"acts when MemAvailable falls to {out.available_percent:g} % "
        f"(at most {out.available_max_mib} MiB)"
        f" and free swap, if there is any, to {out.swap_free_percent:g} %"
    )
    if stall.full_percent <= 0:
        return words
    return (
        f"{words}; or when all tasks stall {stall.full_percent:g} % of {stall.window_ms} ms "
        f"and MemAvailable is at most {stall.available_percent:g} % "
        f"({stall.available_max_mib} MiB)"
    )


def machine_words(machine: Probe) -> str:
    """What this kernel has and lacks, and what stands in, in one line."""
    zram = ", ".join(one.name for one in machine.zram if one.disk_size_bytes)
    swap = "swap is on" if machine.has_swap else "no swap: MemAvailable alone is held to its limit"
    words = [f"{swap} (zram: {zram})" if zram else swap]
    words.append("PSI" if machine.has_psi else "no PSI: MemAvailable is polled")
    versions = {1: "cgroup v1", 2: "cgroup v2", "hybrid": "cgroup v1, with v2 beside it"}
    words.append(versions.get(machine.cgroup_version or 0, "no memory cgroups"))
    if not machine.has_children_file:
        words.append("no children files: children are found by their parents' pids")
    return "; ".join(words)


def notified_words(one: Notified, page_size_bytes: int) -> str:
    """What a notifier claims and what was measured."""
    claimed_mib = one.claimed_pages * page_size_bytes / 2**20
    words = f"{one.name} {claimed_mib:.1f} MiB in {one.took_ms} ms"
    if one.mem_free_change_kib is None or one.mem_available_change_kib is None:
        return words
    free_mib, available_mib = one.mem_free_change_kib / 1024, one.mem_available_change_kib / 1024
    return f"{words} (MemFree {free_mib:+.1f}, MemAvailable {available_mib:+.1f} MiB)"


def freed_words(chain: NotifierChain, page_size_bytes: int) -> str:
    """Why nobody dies: who has freed how much."""
    claimed = tuple(one for one in chain.results if one.claimed_pages)
    words = chain_words(chain._replace(results=claimed), page_size_bytes)
    return f"nobody dies: notifiers freed {chain.freed_pages} pages: {words}"


def chain_words(chain: NotifierChain, page_size_bytes: int) -> str:
    """What each notifier claims and what was measured."""
    return ", ".join(notified_words(one, page_size_bytes) for one in chain.results)
