"""Installs RLHF Studio into `.venv`, for `make run` and `make test`; runs without packages on any Python 3.11 or newer."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # an older Python comes as far as here
    sys.exit("RLHF Studio needs Python 3.11 or newer. Name one: make PYTHON=python3.12")
