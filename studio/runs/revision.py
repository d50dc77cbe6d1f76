"""Names the code that a run is made by."""

import subprocess

from studio import children, redaction


def current() -> str:
    """Return the git revision of the studio's code, or its version where it is not a checkout."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=children.CODE,
        capture_output=True,
        text=True,
        check=False,
        env=redaction.child_environment() | {"GIT_CEILING_DIRECTORIES": str(children.CODE.parent)},
    )
    return answer.stdout.strip() or "0.1.0"
