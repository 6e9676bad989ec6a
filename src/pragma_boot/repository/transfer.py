"""Several files of one image at a time, and their content in order while they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pragma_boot.model import ProgressSink
from pragma_boot.repository.arrival import Arrival, Meter, StartedOverError
from pragma_boot.repository.fetch import Done

SIDE_BY_SIDE = 4
"""How many files of an image are fetched at a time."""

Work = Callable[[Meter, Arrival], Done]
"""The download of one file."""


def transfer(
    works: Sequence[Work],
    subject: str,
    progress: ProgressSink,
    consume: Callable[[Iterator[bytes]], None] | None = None,
) -> list[Done]:
    """Do all downloads, a few side by side; gives what each gave, in order.

    consume: is given the files' content, one after the other, while it arrives; it is called anew when the server
    turns out to have another object meanwhile.

    Raises the first failure; the other downloads have ended then, and keep what they have.
    """
    meter = Meter(subject, progress, len(works))
    arrivals = [Arrival() for _ in works]
    futures: list[Future[Done]] = []
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="fetch") as pool:
        try:
            for work, arrival in zip(works, arrivals, strict=True):
                futures.append(pool.submit(arrival.deliver, work, meter))
            if consume:
                _consume(arrivals, consume)
            for future in futures:
                future.result()
        except BaseException:
            for arrival in arrivals:
                arrival.stop()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        finally:
            for arrival in arrivals:
                arrival.close()
    return [future.result() for future in futures]


def _consume(arrivals: Sequence[Arrival], consume: Callable[[Iterator[bytes]], None]) -> None:
    while True:
        try:
            return consume(piece for arrival in arrivals for piece in arrival.read())
        except StartedOverError:
            continue
