"""What an attempt asks after each shard: may I go on?"""

from __future__ import annotations

from dataclasses import dataclass

from workers.lease import Held
from workers.score.commit import Committed
from workers.score.failures import FailureWatch


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Ends an attempt that should not go on: another one took over, or the run makes no sense."""

    lease: Held | None = None
    failures: FailureWatch | None = None

    @property
    def fence(self) -> int:
        """Number of the lease; 0 without one."""
        return self.lease.fence if self.lease else 0

    def see(self, committed: Committed) -> None:
        """Look at a shard.

        Raises:
            Superseded: If another attempt has taken over.
            TooManyFailures: If the run cannot end within its limits any more.
        """
        if self.lease:
            self.lease.check()
        if self.failures:
            self.failures.see(committed.reasons, committed.rows)
