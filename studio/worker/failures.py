"""Recognises faults of the machine in a run's exceptions: out of memory, a disk that is full or read-only, damaged weights.

Libraries raise many types (safetensors its own, torch a plain RuntimeError), so the text is read too.
"""

import errno
import re

from modules.runtime import phases
from modules.runtime.phases import Phase

_DISK = {
    errno.ENOSPC: "The disk is full: free some space.",
    errno.EDQUOT: "The disk quota is used up: free some space.",
    errno.EFBIG: "A file would become larger than the disk or a limit (ulimit -f) allows: lift the limit, or use another disk.",
    errno.EROFS: "The disk is read-only: make it writable again (a faulty disk is often switched to read-only; look at dmesg).",
    errno.EACCES: "A file or folder of the run may not be written or read: fix its permissions.",
    errno.EIO: "The disk gives errors: check it and its cable before anything else.",
}
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_SMALLER: dict[Phase | None, str] = {
    Phase.SAVING: "Close other programs.",
    Phase.LOADING: "Close other programs, or choose nf4 or a smaller base model in a new run.",
    Phase.SAMPLING: "Close other programs, or lower rollout_batch_size or max_new_tokens in a new run.",
}
_SMALLER_STEP = "Close other programs, or lower micro_batch_size or the lengths, or turn on gradient_checkpointing or nf4, in a new run."


def explain(error: BaseException, others: str = "") -> str:
    """Return the message for a run that the machine made fail, without the next step; empty for other failures.

    Args:
        error: what was raised.
        others: a sentence about other programs that hold GPU memory.
    """
    text, phase = str(error), phases.of(error)
    doing = phase or "working"
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _MEMORY_WORDS):
        kind = "GPU memory" if "cuda" in text.lower() else "memory"
        return f"Out of {kind} while {doing}. {others or _SMALLER.get(phase, _SMALLER_STEP)}"
    number = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"\(os error (\d+)\)", text):  # as Rust writes it
        number = int(found[1])
    if number in _DISK:
        return f"{_DISK[number]} It happened while {doing}."
    if type(error).__name__ == "SafetensorError":
        return (
            f"A file of weights is damaged ({text}), met while {doing}: put back a copy, or choose another checkpoint."
        )
    return ""
