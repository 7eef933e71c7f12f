"""``python3 -m oomd_docs man|completion FOLDER``."""

import sys
from pathlib import Path

from oomd_docs.completion import write_completion
from oomd_docs.manual import write_pages

MAKERS = {"man": write_pages, "completion": write_completion}


def main() -> int:
    """The exit status."""
    if len(sys.argv) != 3 or sys.argv[1] not in MAKERS:
        print(f"usage: python3 -m oomd_docs {'|'.join(MAKERS)} FOLDER", file=sys.stderr)
        return 2
    MAKERS[sys.argv[1]](Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
