"""What the sentinel has loaded once it guards, in full: each module costs locked memory.

Something new is put here on purpose, after a look at what it costs
(`python -m tests.bench.calm`), or better kept out: `oomd.typed`, `oomd.lean`, `oomd.libc` and
`oomd.plain_json` say what stands in for the usual modules.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon.sentinel import SAFE, TREE

# Written in C, most of them in the interpreter itself, or frozen into it.
STANDARD_LIBRARY = """
    __main__ _abc _codecs _collections _collections_abc _ctypes _frozen_importlib
    _frozen_importlib_external _heapq _imp _io _signal _socket _stat _thread _warnings _weakref abc
    builtins codecs encodings encodings.aliases encodings.utf_8 errno gc genericpath io marshal math
    os os.path posix posixpath resource select stat sys time zipimport
"""

OURS = {
    "": """announcer clock config config_words crossing current daemon decide event first_settings
        guard helpers lean libc log message_ids mm_types oom plain_json scan sd_notify setting
        setting_records settings settings_hooks settings_loader signals stalls teller trend
        thresholds typed watch wire""",
    "control": "chronicle desk pause samples socket state",
    "effects": """act companions doors futile killer kmsg oom_kill_process oom_reaper panic protect
        reserve syscalls thaw units victims""",
    "mm": """candidates constraint oom_badness oom_kill_process out_of_memory policy proc_oom_score
        select_bad_process task_will_free_mem""",
    "notifier": "asked channel listener worker_process",
    "proc": """allocating cgroup errors kcmp kept_root memcg meminfo namespace nodes
        page_counts pcp pressure probe psi_trigger relatives rivals root snapshot sysctl task
        vmstat zram""",
    "report": "asked kernel_log record sentence trace words",
}

GUARD = """
import sys
sys.path.append(sys.argv[1])
from oomd.daemon import Daemon
from oomd.proc.root import WritableRoot
Daemon(WritableRoot(), sys.argv[2]).prepare()
print(*sys.modules)
"""


def allowed() -> set[str]:
    names = {"oomd", *(f"oomd.{room}" for room in OURS if room)}
    for room, modules in OURS.items():
        names.update(f"oomd.{room}.{module}".replace("..", ".") for module in modules.split())
    return names | set(STANDARD_LIBRARY.split())


def test_the_sentinel_loads_only_what_it_uses(tmp_path: Path) -> None:
    config = tmp_path / "oomd.toml"
    config.write_text(SAFE)
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", "-c", GUARD, str(TREE), str(config)]
    guarding = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = set(guarding.stdout.split())
    assert "rehearsed" in guarding.stderr and "oomd.daemon" in loaded
    assert not loaded - allowed()
