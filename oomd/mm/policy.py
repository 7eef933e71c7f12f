"""The two profiles: where RHEL 7.6's ``out_of_memory()`` and Linux 6.x's differ.

Data plus a name; the code that reads a field says which kernel function it stands for.
"""

from oomd.typed import NamedTuple

__all__ = ["EL7", "MAINLINE", "POLICIES", "Policy", "policy_for"]


class Policy(NamedTuple):
    """One kernel's OOM policy."""

    name: str
    root_discount: bool
    """``oom_badness()``: 3 % off for CAP_SYS_ADMIN (until 4.17)."""
    floor_points: int | None
    """``oom_badness()``: an eligible task scores at least this (1 before 5.9)."""
    last_of_equals: bool
    """``select_bad_process()``: on a tie the last in fork order wins, not the first."""
    exiting_aborts: bool
    """``oom_scan_process_thread()``: a merely exiting task stops the scan."""
    spanned_pages: bool
    """``constrained_alloc()``: nodes count as spanned, not as present."""
    nodes_bind_memcg: bool
    """A memcg OOM too passes over tasks with no allowed node in common with current."""
    binding_mempolicies: tuple[str, ...]
    """Modes that keep a task out of another mempolicy's OOM (until 5.14 interleave, too)."""
    manual_panics: bool
    """A manual OOM may panic, like any other."""
    manual_trusts_notifiers: bool
    """A manual OOM ends when a notifier freed something, like any other."""
    no_victim_panic: str
    """``out_of_memory()``: the words of the panic when nothing is killable."""
    whole_process_dies: bool
    """``task_will_free_mem()`` asks for the whole process, not for one thread."""
    child_sacrifice: bool
    """``oom_kill_process()``: a child dies in place of its parent (until 5.1)."""
    oom_group: bool
    """``oom_kill_process()``: ``memory.oom.group`` is honoured (4.19 on)."""
    sharers_spare_exited_leader: bool
    """``oom_kill_process()``: an mm sharer whose leader has exited is spared."""


EL7 = Policy(
    name="el7",
    root_discount=True,
    floor_points=1,
    last_of_equals=False,
    exiting_aborts=True,
    spanned_pages=True,
    nodes_bind_memcg=True,
    binding_mempolicies=("bind", "interleave"),
    manual_panics=True,
    manual_trusts_notifiers=True,
    no_victim_panic="Out of memory and no killable processes...",
    whole_process_dies=False,
    child_sacrifice=True,
    oom_group=False,
    sharers_spare_exited_leader=True,
)

MAINLINE = Policy(
    name="mainline",
    root_discount=False,
    floor_points=None,
    last_of_equals=True,
    exiting_aborts=False,
    spanned_pages=False,
    nodes_bind_memcg=False,
    binding_mempolicies=("bind",),
    manual_panics=False,
    manual_trusts_notifiers=False,
    no_victim_panic="System is deadlocked on memory",
    whole_process_dies=True,
    child_sacrifice=False,
    oom_group=True,
    sharers_spare_exited_leader=False,
)

POLICIES = {policy.name: policy for policy in (EL7, MAINLINE)}


def policy_for(name: str, kernel: str) -> Policy:
    """The profile called ``name``; ``auto`` takes that of the running ``kernel`` (uname -r).

    Raises KeyError for any other name.
    """
    if name == "auto":
        # Policy cannot be probed without an OOM: here alone the version has to speak.
        return EL7 if kernel.startswith("3.") else MAINLINE
    return POLICIES[name]
