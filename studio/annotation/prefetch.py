"""Supplies a session in the background: new pairs are sampled, and predicted, before the old ones run out.

`look_after` is called after a press was answered. It works in its own thread and in child processes; a file lock keeps
two processes from starting the same run. A sampling run that failed is not tried again.
"""

import logging
import threading
import time

from filelock import FileLock

from modules.config import SampleConfig
from studio.annotation import predictions, sessions
from studio.annotation.sessions import Session
from studio.errors import StudioError
from studio.runs import launcher, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

log = logging.getLogger("rlhf_studio.sessions")
_busy = threading.Lock()
_looked: dict[str, float] = {}
"""Workspace to the time of its last look."""
EVERY_S = 2.0


def look_after(ws: Workspace, rater: str = "person") -> threading.Thread | None:
    """Supply the rater's session with pairs and predictions in the background; None if that is running or just done."""
    is_due = time.monotonic() - _looked.get(str(ws.root), -EVERY_S) >= EVERY_S
    if not is_due or not _busy.acquire(blocking=False):
        return None
    _looked[str(ws.root)] = time.monotonic()
    thread = threading.Thread(target=_look, args=(ws, rater), name="look-after-session")
    thread.start()
    return thread


def top_up(ws: Workspace, session: Session) -> Run | None:
    """Start a sampling run if the session will soon run out of pairs; returns it, or None where none is needed.

    Raises:
        StudioError: the run cannot be made.
    """
    config = session.config
    if session.state in ("ended", "paused") or not is_sampled(session):
        return None
    with FileLock(ws.root / "sampling-ahead.lock"):
        with ws.read() as db:
            waiting = sessions.count_waiting(db, session)
            before = [runs.get(db, run_id) for run_id in sessions.list_runs(db, session.id)]
        is_wanted = waiting < min(config.sample_below, config.target - session.num_given)
        if not is_wanted or any(not run.is_ended for run in before) or (before and before[-1].state != "finished"):
            return None
        run = runs.create(
            ws,
            SampleConfig(
                checkpoint=config.checkpoint,
                opponent=config.opponent,
                num_prompts=config.sample_prompts,
                split=config.split,
                responses_per_prompt=config.rank or 2,
                put_up="rankings" if config.rank else "pairs",
                seed=(session.seed + len(before)) % 2**31,
            ),
        )
        with ws.write() as db:
            sessions.add_run(db, session.id, run.id)
        return launcher.start(ws, run)


def is_sampled(session: Session) -> bool:
    """Return whether new pairs are sampled for the session automatically."""
    return session.config.source in ("policy", "policy_vs_sft") and session.config.sample_below > 0


def status(ws: Workspace, session: Session) -> str:
    """Describe the work, or a failure, in the background; empty where there is neither."""
    with ws.read() as db:
        made = sessions.list_runs(db, session.id)
        run = runs.get(db, made[-1]) if made else None
    if run and not run.is_ended:
        return f"{run.name} samples new pairs: {run.progress_text or run.state}."
    if run and run.state != "finished":
        return f"{run.name}, which was going to sample new pairs, {run.state}: {run.message}"
    is_wanted = session.state in ("running", "resting") and predictions.is_at_work(ws)
    return "The reward model is predicting the next votes, or waiting for the device." if is_wanted else ""


def explain(ws: Workspace, session: Session, why_nothing: str) -> str:
    """Say what is being done and why there is nothing to show; first what will change that."""
    done = status(ws, session)
    return (done or why_nothing) if is_sampled(session) else (why_nothing or done)


def _look(ws: Workspace, rater: str) -> None:
    try:
        with ws.read() as db:
            session = sessions.active(db, rater)
        if session:
            launcher.reap(ws)
            top_up(ws, session)
            predictions.start(ws)
    except StudioError as error:
        log.warning("no pairs were sampled ahead: %s", error)
    except Exception:
        log.exception("no pairs were sampled ahead")
    finally:
        _busy.release()
