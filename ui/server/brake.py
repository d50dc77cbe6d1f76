"""Slows guesses at the password: after ten wrong ones from one place, or a hundred in all, it refuses for a while."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

TRIES = 10
TRIES_IN_ALL = 100
LOCK_S = 300.0
FORGET_S = 900.0
MAX_PLACES = 1000
DELAYS_S = (0.0, 0.0, 0.25, 0.5, 1.0)
"""Delay before the answer to the first, second, ... wrong password; the last one for all further ones."""


@dataclass
class _Count:
    wrong: int = 0
    last: float = -math.inf
    locked_until: float = -math.inf


class Brake:
    """Counts wrong passwords by place (an IPv4 address, or an IPv6 network) and in all, in bounded memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: OrderedDict[str, _Count] = OrderedDict()
        self._all = _Count()

    def wait_s(self, address: str) -> float:
        """Return for how many seconds no password from there is checked; 0 where one may be tried."""
        here = self._places.get(_place(address), _Count())
        return max(0.0, here.locked_until - self._clock(), self._all.locked_until - self._clock())

    def wrong(self, address: str) -> float:
        """Count a wrong password; returns after how many seconds it is to be answered."""
        place = _place(address)
        here = self._places.pop(place, None) or _Count()
        self._places[place] = here
        while len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        for count, limit in ((here, TRIES), (self._all, TRIES_IN_ALL)):
            self._count(count, limit)
        return DELAYS_S[min(max(here.wrong, 1), len(DELAYS_S)) - 1]

    def right(self, address: str) -> None:
        """Forget the wrong passwords of a place that then sent the right one."""
        self._places.pop(_place(address), None)

    def left(self, address: str) -> int:
        """Return how many more wrong passwords are allowed from there."""
        return TRIES - self._places.get(_place(address), _Count()).wrong

    def _count(self, count: _Count, limit: int) -> None:
        now = self._clock()
        count.wrong = count.wrong + 1 if now - count.last < FORGET_S else 1
        count.last = now
        if count.wrong >= limit:
            count.wrong, count.locked_until = 0, now + LOCK_S


def _place(address: str) -> str:
    """Return the address, or the IPv6 network: one host may have a whole network to guess from."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:60]
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network(f"{ip}/64", strict=False))
