"""The border between Gradio and the workbench: every event handler is bound through `on`, every server call through `served`.

This is the page's one broad catch. A `StudioError` becomes a visible sentence; anything else becomes a general sentence
on the page and a traceback in the log. Handlers are bound as private endpoints; since hiding is not authorisation, each
handler checks what it is given as if a stranger had sent it.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio import redaction
from studio.errors import StudioError, WorkspaceUnavailable

log = logging.getLogger("rlhf_studio.ui")
SURPRISE = "Something in the studio itself went wrong. What was saved is safe; the terminal's log has the details."


def on(
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Any = None,
    outputs: Any = None,
    *,
    progress: bool = False,
    **options: Any,
) -> Any:
    """Bind a handler to a component's event.

    Args:
        event: such as `button.click`.
        handler: what to call; a `functools.partial` that carries the workspace is usual. A generator function sets the outputs
            with each value that it yields.
        inputs: components whose values it gets.
        outputs: components it sets.
        progress: show Gradio's spinner over the outputs while it runs.
        **options: passed on to Gradio (js, trigger_mode, ...).
    """
    shown = "minimal" if progress else "hidden"
    if not progress:
        # At every event Gradio's page marks each component that ever waited for one, some 40 ms here; with no such
        # components there is nothing to mark.
        options.setdefault("show_progress_on", [])
    if _is_shared(event, options):
        # Asked again meanwhile, Gradio's page repeats the whole event afterwards, with all of its handlers: two of them that overlap would
        # repeat each other without end. Behind a step of its own that never waits, a handler repeats itself alone.
        step = event(
            None, None, None, js="() => []", api_visibility="private", show_progress="hidden", trigger_mode="multiple"
        )
        event, options["trigger_mode"] = step.then, "always_last"
    return event(
        _guarded(handler), inputs, outputs, api_visibility="private", show_progress=shown, queue=True, **options
    )


def _is_shared(event: Callable[..., Any], options: dict[str, Any]) -> bool:
    """Return whether a handler keeps the newest values, as of a change, on an event that may have others; one that says so itself has its
    event alone."""
    is_change = getattr(event, "event_name", "") == "change"
    return "trigger_mode" not in options and (is_change or isinstance(event, AnyOf))


class AnyOf(partial[Any]):
    """One event of several fields."""


def any_of(fields: Sequence[Any], event: str, *others: Callable[..., Any]) -> AnyOf:
    """Return one event, for `on`, of several fields: it has one handler that runs alone, and with the newest values last.

    With a handler for each field an earlier answer can come after a later one and take its place on the page.

    Args:
        fields: components that have the event.
        event: its name, such as `change`.
        *others: events of another name, such as `button.click`.
    """
    return AnyOf(gr.on, [*(getattr(field, event) for field in fields), *others])


def served(handler: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Wrap a handler for `gr.HTML(server_functions=...)`: it answers a dict, with `error` where something was refused.

    `is_kept` with it: the workspace cannot be used now, so the browser keeps what it sent and sends it again.
    """

    def serve(data: Any = None) -> dict[str, Any]:
        try:
            return handler(data)
        except WorkspaceUnavailable as error:
            return {"error": redaction.redact(str(error)), "is_kept": True}
        except StudioError as error:
            return {"error": redaction.redact(str(error))}
        except Exception:
            log.exception("%s failed", _name(handler))
            return {"error": SURPRISE}

    serve.__name__ = _name(handler).lstrip("_")
    return serve


def _guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    def handle(*values: Any) -> Any:
        with _border(handler):
            return handler(*values)

    def stream(*values: Any) -> Iterator[Any]:
        with _border(handler):
            yield from handler(*values)

    chosen = stream if inspect.isgeneratorfunction(getattr(handler, "func", handler)) else handle
    chosen.__name__ = _name(handler)
    return chosen


@contextmanager
def _border(handler: Callable[..., Any]) -> Iterator[None]:
    try:
        yield
    except StudioError as error:
        raise gr.Error(escape(redaction.redact(str(error))), title="Not done", print_exception=False) from error
    except Exception as error:
        log.exception("%s failed", _name(handler))
        raise gr.Error(SURPRISE, title="Not done", print_exception=False) from error


def _name(handler: Callable[..., Any]) -> str:
    return getattr(handler, "func", handler).__name__
