"""Tests run in as many processes as there are cores; each then computes on one of them, and so do the runs that it starts."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # as workers have it: nothing is compiled
