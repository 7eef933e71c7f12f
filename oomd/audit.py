"""``oomd --dry-run``: one snapshot, one decision, one report. It cannot kill: the code that
kills is not even loaded."""

from typing import NamedTuple

from oomd.decide import decide
from oomd.kill_plan import full_plan
from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import Case, ineligible, oom_badness
from oomd.mm.policy import Policy, policy_for
from oomd.mm.select_bad_process import scan_order
from oomd.mm_types import Snapshot, Sysctls
from oomd.oom import (
    Companion,
    Constraint,
    CurrentTask,
    Kill,
    NotifierChain,
    OomControl,
)
from oomd.proc.memcg import read_memcg, read_memcg_meminfo
from oomd.proc.mempolicy import bound_elsewhere
from oomd.proc.pressure import read_pressure
from oomd.proc.probe import probe
from oomd.proc.rivals import running_rivals
from oomd.proc.root import Root
from oomd.proc.snapshot import take_snapshot
from oomd.proc.sysctl import read_sysctls
from oomd.report.findings import Findings, Ranked
from oomd.report.words import panic_words
from oomd.settings import Settings
from oomd.watch import measure

__all__ = ["Question", "audit"]


class Question(NamedTuple):
    """What an audit is asked, beyond the settings."""

    policy: str = ""
    """Empty: the one in the settings."""
    memcg: str = ""
    nodemask: int | None = None
    node_constraint: Constraint = Constraint.CPUSET
    assumed: tuple[tuple[str, int], ...] = ()
    """Sysctls by name, as if they were set so."""
    current_pid: int = 0
    """As if this process were allocating. 0: nobody is."""
    manual: bool = False
    """As if it were asked for by hand, as by sysrq-f."""


def _sysctls(root: Root, question: Question) -> Sysctls:
    sysctls = read_sysctls(root)
    assumed = dict(question.assumed)
    unread = tuple(name for name in sysctls.not_observable if name not in assumed)
    return sysctls._replace(**assumed, not_observable=unread)


def _control(question: Question, snapshot: Snapshot) -> OomControl:
    oc = OomControl(manual=question.manual)
    if question.memcg:
        oc = oc._replace(constraint=Constraint.MEMCG)
    elif question.nodemask is not None:
        oc = oc._replace(constraint=question.node_constraint, nodemask=question.nodemask)
    pid = question.current_pid
    if not pid:
        return oc
    task = next((one for one in snapshot.tasks if one.pid == pid), None)
    if task is None:
        # The steps that ask for it will say that it has gone.
        return oc._replace(current=CurrentTask(pid, pid, 0, assumed=True))
    current = CurrentTask(
        pid,
        task.mm_tid,
        seen_ms_ago=0,
        sigkill_pending=task.sigkill_pending,
        exiting=task.exiting,
        assumed=True,
        starttime_ticks=task.starttime_ticks,
    )
    return oc._replace(current=current)


def _ranking(snapshot: Snapshot, case: Case, policy: Policy) -> tuple[Ranked, ...]:
    eligible, others = [], []
    for task in scan_order(snapshot.tasks, case):
        reason = ineligible(task, case)
        if reason:
            others.append(Ranked(task, None, reason))
        else:
            eligible.append(Ranked(task, oom_badness(task, case.totalpages, policy), ""))
    # Ties in the order in which the kernel would prefer them.
    if policy.last_of_equals:
        eligible.reverse()
    eligible.sort(key=lambda ranked: -(ranked.points or 0))
    return (*eligible, *others)


def _notes(
    root: Root, sysctls: Sysctls, snapshot: Snapshot, policy: Policy, own_pid: int
) -> tuple[str, ...]:
    notes = []
    if sysctls.not_observable:
        names = ", ".join(f"vm.{name}" for name in sysctls.not_observable)
        notes.append(f"{names} not observable: the kernel's default stands in")
    refused = [task for task in snapshot.tasks if task.refused]
    if refused:
        notes.append(
            f"{len(refused)} processes could not be read whole (run as root to see them), "
            f"e.g. {refused[0].pid}: {refused[0].refused}"
        )
    unseen = [
        task
        for task in snapshot.tasks
        if task.cap_sys_admin and task.init_user_ns is None and task.pid != 1
    ]
    if unseen and policy.root_discount:
        notes.append(
            f"the user namespace of {len(unseen)} tasks with CAP_SYS_ADMIN is not observable: "
            "taken for the initial one, which earns them the root discount"
        )
    if not root.live and not snapshot.kernel:
        notes.append("a plain tree: what only a live kernel tells is not observable")
    rivals = running_rivals(root, own_pid)
    if rivals:
        notes.append(f"{', '.join(rivals)} runs here too: each may kill while the other waits")
    return tuple(notes)


def audit(
    root: Root,
    settings: Settings,
    question: Question,
    own_pid: int = 0,
    *,
    notifiers: NotifierChain = NotifierChain(),  # noqa: B008 - a frozen record
    warnings: tuple[str, ...] = (),
) -> Findings:
    """Read once, decide once. Raises ``CannotDecide`` or ``ReadError``.

    ``own_pid`` is the audit's own process, which is no rival and is not on the ranking.
    ``notifiers`` are those that the daemon would call. ``warnings`` become notes.
    """
    name = question.policy or settings.policy
    page_size_bytes = root.page_size_bytes()
    memcg = read_memcg(root, question.memcg, page_size_bytes) if question.memcg else None
    # Read though nobody asked: a recording can then be asked about its nodes later.
    snapshot = take_snapshot(root, memcg=memcg, need_nodes=root.exists("proc/zoneinfo"))
    policy = policy_for(name, snapshot.kernel)
    sysctls = _sysctls(root, question)
    oc = _control(question, snapshot)
    own = frozenset(task.ident for task in snapshot.tasks if task.pid == own_pid)
    oc = oc._replace(spared=own)
    if oc.constraint is Constraint.MEMORY_POLICY and oc.nodemask is not None:
        modes = policy.binding_mempolicies
        bound = bound_elsewhere(root, snapshot.tasks, oc.nodemask, modes)
        oc = oc._replace(bound_elsewhere=bound)

    meminfo = read_memcg_meminfo(root, question.memcg) if question.memcg else snapshot.meminfo
    pressure = read_pressure(root, question.memcg or None)
    percent = pressure.full.avg10_percent if pressure is not None else None
    found = measure(root, meminfo, percent, settings, question.memcg or None)

    decision, oc = decide(root, oc, snapshot, sysctls, policy, freed=notifiers)
    case = case_of(oc, snapshot, policy)
    notes = panic_words(settings, sysctls) + _notes(root, sysctls, snapshot, policy, own_pid)
    notes += warnings
    plan, companions = None, tuple[Companion, ...]()
    if isinstance(decision, Kill):
        plan, companions, how = full_plan(root, decision, snapshot, case)
        if how != "kcmp":
            notes = (*notes, "who shares the victim's memory is not observable: nobody is assumed")
    return Findings(
        policy=policy.name,
        kernel=snapshot.kernel,
        snapshot=snapshot,
        sysctls=sysctls,
        settings=settings,
        pressure=pressure,
        thresholds=found.thresholds,
        would_act=found.crossed,
        decision=decision,
        plan=plan,
        companions=companions,
        ranking=_ranking(snapshot, case, policy),
        machine=probe(root),
        notes=notes,
    )
