"""Handles proxies and certificates of the environment: downloads need them, the page must not use them.

Gradio makes HTTP clients when it is imported and asks its own page once when it starts. Both would go through the person's
proxy, or fail on a setting that the client does not know (SOCKS without its package, `socks://` as GNOME writes it, a
`no_proxy` with an IPv6 network, a certificate file that is gone). So these variables are set aside for that moment only:
afterwards, and in every child process, they hold as before.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from studio import redaction

CERTIFICATES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"})
_lock = threading.RLock()


def found(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that name a proxy and are not empty."""
    return {
        name: value for name, value in environment.items() if _is_proxy(name) and name.lower() != "no_proxy" and value
    }


@contextmanager
def set_aside() -> Iterator[None]:
    """Hide the proxies from this process for the length of the block, but not from children started in it."""
    with _lock:
        mine = {name: value for name, value in os.environ.items() if _is_proxy(name) or name in CERTIFICATES}
        redaction.KEPT.update(mine)
        for name in mine:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(mine)
            for name in mine:
                redaction.KEPT.pop(name, None)


def fault() -> str:
    """Return the HTTP client's error about these variables, with which no download works; empty if it takes them."""
    import httpx  # here: most commands need no client, and it is slow to import

    try:
        httpx.Client().close()
    except (ImportError, ValueError, TypeError, OSError, httpx.InvalidURL) as error:
        return redaction.redact(str(error).split("\n")[0].split(". ")[0])
    return ""


def sentence() -> str:
    """Tell who opens the page what the proxy is used for; empty where there is none."""
    names = ", ".join(sorted(found()))
    if not names:
        return ""
    return (
        f"A proxy is set ({names}): downloads go through it, the page does not. If the browser cannot open the page, add "
        "localhost,127.0.0.1 to no_proxy."
    )


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy")
