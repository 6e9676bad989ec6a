"""Waiting for a hub that has not published yet: asked again and again, with a limit, and told meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pragma_boot.errors import ExchangeAwayError, ExchangeError
from pragma_boot.model import Progress, ProgressSink
from pragma_boot.network.overlay.exchange import Exchange
from pragma_boot.network.overlay.information import JoinInformation

_log = logging.getLogger(__name__)

LIMIT = 1800.0
"""Seconds, unless `ipop_timeout` says otherwise."""

INTERVAL = 60.0
"""Seconds between two looks, as the old program had it."""


def wait_for(
    exchange: Exchange,
    progress: ProgressSink,
    subject: str,
    *,
    limit: float = LIMIT,
    interval: float = INTERVAL,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> JoinInformation:
    """The join information, as soon as it is there; an exchange that does not answer is borne meanwhile, too.

    subject: what to tell *progress* about (the cluster). limit, interval: seconds; with a limit of 0, one look.
    Raises ExchangeError after *limit*, with what was seen last; at once for what waiting does not mend.
    """
    start = now()
    while True:
        information, seen = _look(exchange)
        waited = now() - start
        if information:
            return information
        if waited >= limit:
            raise ExchangeError(
                f"no join information appeared at {exchange.shown} within {_minutes(limit)}",
                details=seen,
                resolution="see that the overlay's hub was booted with the same URL (enable-ipop-server=);"
                " 'ipop_timeout' says how long to wait",
            )
        _log.info("%s: %s", exchange.shown, seen)
        text = f"waiting for the overlay's hub at {exchange.shown}: {seen}"
        progress(Progress("prepare", subject, text, done=int(waited), total=int(limit)))
        sleep(min(interval, limit - waited))


def _look(exchange: Exchange) -> tuple[JoinInformation | None, str]:
    try:
        return exchange.fetch(), "nothing is published there yet"
    except ExchangeAwayError as error:
        return None, "; ".join(filter(None, (error.message, error.details)))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
