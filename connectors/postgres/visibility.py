"""Which transactions a snapshot of PostgreSQL sees.

Whoever decodes the log may hear of a commit a moment before other sessions see it: its record is on disk, and the
transaction leaves the list of those in progress afterwards (or, with synchronous replication, once a standby has
answered). So a row that is read now may be older than an event that is there already.

Source of the rules: PostgreSQL's documentation, "Transaction ID and Snapshot Information Functions" (`pg_snapshot`:
`xmin:xmax:xip_list`) and "Logical Streaming Replication Protocol" (a transaction's id has 32 bits there).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_EPOCH = 2**32


@dataclass(frozen=True, slots=True)
class Visible:
    """What a snapshot sees: transactions below `end` that aren't `running`. Ids have 64 bits."""

    end: int
    running: frozenset[int]

    def lacks(self, transactions: Iterable[int]) -> frozenset[int]:
        """Which of these transactions (ids of 32 or 64 bits) the snapshot doesn't see."""
        return frozenset(
            each for each in transactions if (whole := self._whole(each)) >= self.end or whole in self.running
        )

    def _whole(self, transaction: int) -> int:
        """The id with its epoch: of those that end in these 32 bits the nearest one, as ids wrap around."""
        if transaction >= _EPOCH:
            return transaction
        near = self.end - self.end % _EPOCH + transaction
        if near - self.end > _EPOCH // 2:
            return near - _EPOCH
        return near + _EPOCH if self.end - near > _EPOCH // 2 else near


def visible(snapshot: str) -> Visible:
    """From the text of a `pg_snapshot`, as in `10:20:10,14,15`. Raises ValueError where it is none."""
    _, end, running = snapshot.split(":")
    return Visible(int(end), frozenset(int(each) for each in running.split(",") if each))
