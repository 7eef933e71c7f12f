"""All targets: everything that reads what a kernel, a user, a program or a file says."""

import json
from typing import Final

from oomd.client.protocol import ClientError
from oomd.config import ConfigError, from_lines
from oomd.notifier.builtin.command import parse_freed_bytes
from oomd.notifier.builtin.compact import parse_mem_used_total
from oomd.notifier.devices import parse_swaps
from oomd.notifier.plan import PlanError, parse_plan
from oomd.notifier.plugin_options import BadTable, Option, bind
from oomd.proc.errors import ReadError, Unparsable
from oomd.proc.memcg import (
    parse_limit,
    parse_memory_stat,
    parse_oom_control,
    parse_own_cgroup,
    parse_procs,
)
from oomd.proc.meminfo import parse_meminfo
from oomd.proc.nodes import parse_zoneinfo
from oomd.proc.pcp import parse_pcp_pages
from oomd.proc.pressure import parse_pressure
from oomd.proc.recorded import BadRecording
from oomd.proc.relatives import parse_children
from oomd.proc.snapshot import CannotDecide
from oomd.proc.sysctl import parse_int
from oomd.proc.task import parse_stat, parse_status
from oomd.proc.vmstat import parse_oom_kill
from oomd.records.fields import BadRecord
from oomd.wire import WireError
from tests.fuzz import judging, reading, samples, talking
from tests.fuzz.target import Target

__all__ = ["TARGETS"]

_OPTIONS: Final = (
    Option("keep_mib", int, 16, False),
    Option("share", float, 0.5, False),
    Option("on", bool, True, False),
    Option("name", str, "", True),
    Option("paths", list[str], [], False),
)


def _lines(data: bytes) -> object:
    return from_lines(data.decode("utf-8"))


def _options(data: bytes) -> object:
    """A plugin's options, as the worker's plan has them."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return bind(_OPTIONS, table) if isinstance(table, dict) else None


_STATUS: Final = (
    *(b"\nTracerPid:\t", b"\nUid:\t", b"\nGid:", b"\nVmSize:", b"\nVmRSS:\t", b"\nVmPTE:\t"),
    *(b"\nRssAnon:\t", b"\nVmPMD:\t", b"\nVmSwap:\t", b" kB", b"\nSigPnd:\t", b"\nShdPnd:\t"),
    *(b"\nCapEff:\t", b"\nMems_allowed:\t", b"ffffffff,"),
)
_ZONEINFO: Final = (
    *(b"Node 0, zone DMA\n", b"Node -1, zone x\n", b"spanned ", b"present ", b"start_pfn: "),
    *(b"\n              count: ", b"\n"),
)
_JSON: Final = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"1e999", b"NaN")
_MESSAGE: Final = (
    *_JSON,
    *(b'"op":', b'"oom"', b'"registered"', b'"refused"', b'"register"', b'"list"', b'"run"'),
    *(b'"freed"', b'"failed"', b'"result"', b'"done"', b'"seq":', b'"bytes":', b'"stop":'),
    *(b'"name":', b'"priority":', b'"deadline_ms":', b'"api":1', b'"error":', b'"verdict":', b"\n"),
)
_TOML: Final = (
    *(b"[", b"]", b"=", b".", b'"""', b"'''", b"#", b"{", b"}", b"inf", b"1979-05-27", b"\n"),
    *(b"[notifiers.command.x]\n", b"[[a]]\n", b"[notifiers]\n", b'"\\u0000"', b"a.a.a."),
)
_REPORT: Final = (
    *(b" invoked oom-killer: gfp_mask=0x", b" cpuset=", b" mems_allowed=", b"PID: ", b" Comm: "),
    *(
        b"Tainted: ",
        b"[ pid ]   uid  tgid total_vm",
        b" name",
        b"[ 1]  0  1 ",
        b"Node 0 DMA: 1*4kB",
    ),
    *(b"oom-kill:constraint=CONSTRAINT_NONE,nodemask=", b",cpuset=", b",mems_allowed=", b",task="),
    *(b",oom_memcg=", b",task_memcg=", b",pid=1,uid=0", b"Kill process 1 (", b"Killed process 1 ("),
    *(b") total-vm:4kB", b") score 5 or sacrifice child", b"#012", b"\n", b"(", b")", b"[", b"]"),
    *(b"limit of ", b"memory: usage 1kB, limit ", b"Total swap = ", b" pages RAM", b" present:"),
    *(b"oom_reaper: reaped process 1 (", b"), now anon-rss", b"Tasks in /a are going to be killed"),
    *(b"due to memory.oom.group set", b'{"MESSAGE":"', b'"}', b'"MESSAGE":[104,105]', b"Mem-Info:"),
)
_RECORD: Final = (*_JSON, b'"kind": "decision"', b'"pid": ', b'"comm": ', b"\\\\x", b"\n")
_TREE: Final = (*_STATUS, *_ZONEINFO, b"== proc/7/stat\n", b"== sys/fs/cgroup/a/memory.max\n", b")")

_PROC: Final = (
    Target("stat", parse_stat, (Unparsable,), (b"(", b")", b" ")),
    Target("status", parse_status, (Unparsable,), _STATUS),
    Target("meminfo", parse_meminfo, (Unparsable,), (b"MemTotal:", b"SwapTotal:", b" kB\n")),
    Target(
        "pressure",
        parse_pressure,
        (Unparsable,),
        (b"some ", b"full ", b"avg10=", b"total=", b"nan"),
    ),
    Target("zoneinfo", parse_zoneinfo, (Unparsable,), _ZONEINFO),
    Target("pcp", parse_pcp_pages, (), _ZONEINFO),
    Target("vmstat", parse_oom_kill, (), (b"\noom_kill ",)),
    Target("number", parse_int, (Unparsable,)),
    Target("limit", lambda data: parse_limit(data, 4096), (Unparsable,), (b"max",)),
    Target("oom_control", parse_oom_control, (), (b"oom_kill_disable 1\n",)),
    Target("memory_stat", parse_memory_stat, (), (b"\ntotal_", b"file ", b"\n")),
    Target("children", parse_children),
    Target("procs", parse_procs, (), (b"\n",)),
    Target("own_cgroup", parse_own_cgroup, (), (b"0::/", b"/", b"\n")),
    Target("swaps", parse_swaps, (), (b"\n", "²".encode())),
    Target("mm_stat", lambda data: parse_mem_used_total("mm_stat", data), (Unparsable,)),
    Target("freed_bytes", parse_freed_bytes, (), (b" MiB", b"GiB", b"\n")),
    Target("manifest", reading.manifest, (BadRecording,), (*_JSON, b'"oomd_recording": 1')),
    Target(
        "tree", reading.tree, (CannotDecide, ReadError), _TREE, times=100, plus=50_000, examples=25
    ),
)

TARGETS: Final = {
    target.name: target
    for target in (
        *_PROC,
        Target("settings", reading.settings, (ConfigError,), _TOML, plus=20_000, examples=40),
        Target(
            "lines",
            _lines,
            (ConfigError, UnicodeDecodeError),
            (b"=", b"\n"),
            plus=5000,
            samples=samples.lines,
        ),
        Target("wire", talking.words, (WireError,), _MESSAGE),
        Target("client", talking.client, (ClientError,), _MESSAGE),
        Target("server", talking.server, (), _MESSAGE, plus=100_000),
        Target("worker", talking.guard, (), _MESSAGE),
        Target(
            "plan",
            parse_plan,
            (PlanError,),
            (*_JSON, b'"builtin":', b'"plugins":'),
            samples=samples.plan,
        ),
        Target("options", _options, (BadTable,), (*_JSON, b'"keep_mib":', b'"share":')),
        Target("log_line", judging.log_line, (), (b"[", b"<6>", b" kernel: ", b"6,1,2,-;")),
        Target("report", judging.report, (), _REPORT, times=100, plus=10_000, examples=40),
        Target(
            "record",
            judging.record,
            (BadRecord,),
            _RECORD,
            times=100,
            plus=10_000,
            samples=samples.records,
            examples=40,
        ),
        Target("since", judging.since, (ValueError,), (b"@", b" days", b"w", b"T")),
    )
}
"""By name."""
