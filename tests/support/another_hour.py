"""A pytest plugin that moves the clock, so that a test id made from the time of day shows itself (see test_repository.py)."""

import time

_now = time.time
time.time = lambda: _now() + 5_003.0
