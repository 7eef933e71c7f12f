"""Starts the sentinel with the standard library and the package `oomd`, and nothing else.

packaging/install puts this file into the release's folder beside `package`, a link to the folder
that holds `oomd`; the unit runs it with `python -I -S`. -S keeps site, the venv's .pth files and
every installed module out of the process whose memory is locked; -I keeps the environment and the
current folder from choosing what it imports.
"""

import os
import sys

RELEASE = os.path.dirname(os.path.realpath(__file__))

sys.path.append(os.path.join(RELEASE, "package"))
# Helpers are started with sys.executable. It came through the link `current`, which an upgrade
# turns; a running sentinel and its helpers must be of one release.
python = os.path.join(RELEASE, "bin", "python")
if os.path.exists(python):
    sys.executable = python

# For this process alone, as the unit says: its helpers and hooks have the machine's own.
if os.environ.get("LC_ALL") == "C":
    del os.environ["LC_ALL"]

from oomd.daemon import main  # noqa: E402  # the path above has to come first

sys.exit(main())
