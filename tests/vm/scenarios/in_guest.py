"""Runs in the guest, with the installed oomd, as the worker would run it: one releaser, or devices.

    in_guest.py release NAME OPTIONS WANTED_MIB     starts it, calls it once, lets it calm down
    in_guest.py devices                             says what is there and what changes, for ever

Each line is a word and a JSON object with figures.
"""

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

from oomd.notifier import OomEvent
from oomd.notifier.builtin import Releaser, make
from oomd.notifier.builtin.drm import cards
from oomd.notifier.devices import Devices
from oomd.proc.root import WritableRoot


def meminfo_kib() -> dict[str, int]:
    """All of /proc/meminfo; the counts of huge pages are in it too."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def say(word: str, **figures: Any) -> None:
    print(word, json.dumps(figures), flush=True)


def calm_down(releaser: Releaser) -> int:
    """Let it do what it wants to do in the calm, when it wants to; how many steps that took."""
    steps = 0
    while (wait_s := releaser.calm(time.monotonic())) is not None:
        steps += 1
        if wait_s >= 30:
            # It only looks at the machine again from time to time.
            break
        time.sleep(wait_s)
    return steps


def release(name: str, options: str, wanted_mib: str) -> None:
    root = WritableRoot()
    releaser = make(name, json.loads(options), root)
    releaser.start()
    calm_down(releaser)
    before = meminfo_kib()
    say("started", meminfo=before, cards=[card[:3] for card in cards(root)])
    releaser.storm()
    begun = time.monotonic()
    deadline = begun + 60
    event = OomEvent(int(wanted_mib) << 20, deadline, "exhaustion", "CONSTRAINT_NONE")
    claimed = releaser.release(event)
    took_ms = int((time.monotonic() - begun) * 1000)
    after = meminfo_kib()
    change = {key: after[key] - before[key] for key in after}
    say("released", claimed=claimed, took_ms=took_ms, meminfo=after, change=change)
    steps = calm_down(releaser)
    say("calm", steps=steps, meminfo=meminfo_kib())
    releaser.close()


def devices() -> None:
    watched = Devices(WritableRoot(), lambda line: say("cannot", line=line))
    say("present", lines=watched.present())
    while True:
        select.select([watched.fileno()], [], [])
        say("woken", lines=watched.events())


if __name__ == "__main__":
    if sys.argv[1] == "release":
        release(*sys.argv[2:])
    else:
        devices()
