"""Makes the samples anew: real reports of kernels that a virtual machine runs.

    python3 -m tests.replay.make_samples [NAME ...]      all, or those whose name begins so
    python3 -m tests.replay.make_samples --kernel 6.12   on the newest 6.12 that apt knows

Every OOM is a real one, inside the machine (root, QEMU, several minutes). Stacks are cut out: they
are the larger half, and say nothing that is used.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.replay.scenes import FORMS, SCENES, Scene
from tests.replay.vm_kernels import image_with
from tests.vm.image import Image, build_image
from tests.vm.installed import installed_image
from tests.vm.machine import Machine

SAMPLES = Path(__file__).parent / "samples"
TREE = Path(__file__).parents[2]
# The series of the virtual machine's own kernel.
USUAL = "6.1"

# Stack frames and registers.
_STACK = re.compile(
    r"\S\+0x[0-9a-f]+/0x|</?TASK>|\bR[A-Z0-9]{2}: [0-9a-f]{4}|\bCode: |\b[FC]S:  ?[0-9a-f]{4}"
)


def _without_stacks(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if not _STACK.search(line)]


def _header(release: str, how: str) -> str:
    return f"# Linux {release}, in the project's virtual machine: {how}\n# (stacks cut out)\n"


def _write(name: str, release: str, how: str, lines: Iterable[str]) -> None:
    kept = _without_stacks(lines)
    path = SAMPLES / f"{name}.log"
    path.write_text(_header(release, how) + "".join(f"{line}\n" for line in kept))
    print(f"{path.relative_to(TREE)}: {len(kept)} lines", file=sys.stderr)


def _play(scene: Scene, prefix: str, boot: Callable[[Scene], Machine]) -> None:
    with boot(scene) as machine:
        release = machine.run(["uname", "-r"]).stdout.strip()
        lines = scene.play(machine)
        _write(f"{prefix}-{scene.name}", release, scene.how, lines)
        if scene.name == FORMS and prefix == USUAL:
            _write_forms(machine, prefix)


def _write_forms(machine: Machine, prefix: str) -> None:
    """The same log in every form that the machine's own programs give it."""
    folder = SAMPLES / f"{prefix}-forms"
    folder.mkdir(exist_ok=True)
    commands = {
        "dmesg": "dmesg",
        "dmesg-T": "dmesg -T",
        "dmesg-notime": "dmesg -t",
        "dmesg-delta": "dmesg -d",
        "dmesg-reltime": "dmesg -e",
        "dmesg-iso": "dmesg --time-format iso",
        "dmesg-decode": "dmesg -x",
        "dmesg-raw": "dmesg -r",
        "journal-short": "journalctl -k --no-pager",
        "journal-short-full": "journalctl -k --no-pager -o short-full",
        "journal-short-iso": "journalctl -k --no-pager -o short-iso-precise",
        "journal-monotonic": "journalctl -k --no-pager -o short-monotonic",
        "journal-cat": "journalctl -k --no-pager -o cat",
        "journal-json": "journalctl -k --no-pager -o json --output-fields="
        "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_FACILITY,_TRANSPORT,_HOSTNAME",
        "kmsg": "timeout 5 cat /dev/kmsg || true",
    }
    for name, command in commands.items():
        text = machine.run(f"LC_ALL=C {command}", timeout_s=300).stdout
        lines = text.splitlines()
        first = next(n for n, line in enumerate(lines) if "invoked oom-killer" in line)
        kept = _without_stacks(lines[first:])
        (folder / f"{name}.log").write_text("".join(f"{line}\n" for line in kept))


def _booter(image: Image, guarded: Callable[[], Image], log: Path) -> Callable[[Scene], Machine]:
    def boot(scene: Scene) -> Machine:
        return Machine(
            guarded() if scene.guarded else image,
            log_dir=log / scene.name,
            memory_mib=scene.memory_mib,
            cmdline_extra="ignore_loglevel" if scene.panics else "",
            qemu_args=scene.qemu_args,
        )

    return boot


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.replay.make_samples")
    parser.add_argument("--kernel", default="", help="a release that apt knows, such as 6.12")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    image = image_with(options.kernel) if options.kernel else build_image()
    prefix = options.kernel or USUAL
    with tempfile.TemporaryDirectory() as log:
        boot = _booter(image, lambda: installed_image(TREE), Path(log))
        for scene in SCENES:
            wanted = not options.names or scene.name.startswith(tuple(options.names))
            if wanted and (not options.kernel or scene.elsewhere):
                _play(scene, prefix, boot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
