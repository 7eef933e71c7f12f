"""A plugin whose module never finishes to be imported."""

import time

time.sleep(100_000)
