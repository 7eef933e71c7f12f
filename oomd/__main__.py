"""``python -m oomd``."""

import sys

from oomd.cli import main

sys.exit(main())
