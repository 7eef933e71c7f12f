"""``oomd --dry-run``: one snapshot, one decision, one report. It cannot kill: the code that
kills is not even loaded."""

from typing import NamedTuple

from oomd.crossing import measure
from oomd.decide import decide
from oomd.kill_plan import full_plan
from oomd.mm.constraint import case_of
from oomd.mm.policy import Policy, policy_for
from oomd.mm_types import Snapshot, Sysctls
from oomd.oom import (
    Companion,
    Constraint,
    CurrentTask,
    Kill,
    NotifierChain,
    OomControl,
    Rules,
)
from oomd.proc.memcg import read_memcg, read_memcg_meminfo
from oomd.proc.mempolicy import bound_elsewhere
from oomd.proc.namespace import CONTAINED, in_container
from oomd.proc.pressure import read_pressure
from oomd.proc.probe import probe
from oomd.proc.rivals import running_rivals
from oomd.proc.root import Root
from oomd.proc.snapshot import take_snapshot
from oomd.proc.sysctl import read_sysctls
from oomd.ranking import chosen_without_rules, ranking
from oomd.report.findings import Findings
from oomd.report.words import panic_words
from oomd.settings import Settings
from oomd.thresholds import LongStall

__all__ = ["Question", "audit"]

# Where the daemon would read on later, the audit reads to the end.
RULES_BUDGET_US = 60_000_000


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


def _rules(root: Root, settings: Settings, question: Question) -> Rules | None:
    """The admin's, with all that they ask for read now: nobody is about to die of the wait."""
    if not settings.has_rules:
        return None
    # Imported here: most have none.
    from oomd.ahead import RulesAhead  # noqa: PLC0415

    return RulesAhead(root, settings, question.memcg, budget_us=RULES_BUDGET_US).book


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
    if root.live and in_container(root):
        notes.append(CONTAINED)
    rivals = running_rivals(root, own_pid)
    if rivals:
        notes.append(f"{', '.join(rivals)} runs here too: each may kill while the other waits")
    return tuple(notes)


def _with_mempolicies(root: Root, oc: OomControl, snapshot: Snapshot, policy: Policy) -> OomControl:
    if oc.constraint is not Constraint.MEMORY_POLICY or oc.nodemask is None:
        return oc
    modes = policy.binding_mempolicies
    bound = bound_elsewhere(root, snapshot.tasks, oc.nodemask, modes)
    return oc._replace(bound_elsewhere=bound)


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
    oc = _with_mempolicies(root, oc, snapshot, policy)
    meminfo = read_memcg_meminfo(root, question.memcg) if question.memcg else snapshot.meminfo
    pressure = read_pressure(root, question.memcg or None)
    percent = pressure.full.avg10_percent if pressure is not None else None
    # Of the last 10 s, as it is.
    long = LongStall(percent or 0.0)
    found = measure(root, meminfo, percent, settings, question.memcg or None, long=long)

    oc = oc._replace(rules=_rules(root, settings, question))
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
        ranking=ranking(snapshot, case),
        without_rules=chosen_without_rules(snapshot, case),
        machine=probe(root),
        notes=notes,
    )
