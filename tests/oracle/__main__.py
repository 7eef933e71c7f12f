"""Asks kernels, in a virtual machine, whom they would kill, and holds oomd against them.

python -m tests.oracle --populations 200 --seed 1 --folder DIR [--suite trixie ...]
python -m tests.oracle --table DIR [--write]

The first is resumable: what DIR has is not asked again. Every OOM is a real one, inside the machine
(root, QEMU; some seconds for each population). --write puts the table into README.
"""

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import Any

from tests.oracle.compare import compare
from tests.oracle.kernels import SUITES, image_of
from tests.oracle.population import populations
from tests.oracle.run import run_all
from tests.oracle.table import disagreements, read_folder, table, write_readme
from tests.vm.steps import ImageError

TREE = Path(__file__).parents[2]


def _about() -> dict[str, str]:
    today = datetime.date.today().isoformat()
    return {"date": today, "machine": f"QEMU without KVM on {os.cpu_count()} processors"}


def _tell(result: dict[str, Any]) -> None:
    verdict = compare(result)
    words = f"{verdict.cause}: {verdict.detail}" if verdict.cause else "as predicted"
    print(f"{verdict.kernel} {verdict.scene} {verdict.number}: {words}", flush=True)


def _ask(options: argparse.Namespace) -> None:
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    for suite in options.suite or SUITES[:1]:
        image = image_of(suite, TREE)
        wanted = populations(options.seed, options.populations)
        run_all(image, wanted, folder / f"{suite}.jsonl", {"seed": options.seed, **_about()}, _tell)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--populations", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="raw results, one file a kernel")
    parser.add_argument("--suite", action="append", choices=SUITES, help="whose kernel; repeatable")
    parser.add_argument("--table", type=Path, metavar="DIR", help="print the table of raw results")
    parser.add_argument("--write", action="store_true", help="with --table: into README")
    options = parser.parse_args()
    if (options.folder is None) == (options.table is None):
        parser.error("either --folder or --table")
    try:
        if options.folder is not None:
            _ask(options)
    except ImageError as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 1
    kernels = read_folder(options.folder or options.table)
    if not kernels:
        print("oracle: no results", file=sys.stderr)
        return 1
    text = table(kernels)
    print(text, end="")
    unlike = disagreements(verdict for one in kernels for verdict in one.verdicts)
    print("\n".join(unlike))
    if options.write:
        write_readme(TREE / "README.md", text)
    causes = {verdict.cause for one in kernels for verdict in one.verdicts}
    return 1 if causes & {"policy", "harness"} else 0


if __name__ == "__main__":
    sys.exit(main())
