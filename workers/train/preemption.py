"""The notice that a node of the run will be taken away: Ray's word for a spot instance's last minutes.

A node's own SIGTERM becomes that notice as well: ``ray start --block``, what a Kubernetes pod of Ray runs, drains its
node before it ends.
"""

from __future__ import annotations

import threading
import time

import ray.train

_LOOK_EVERY_S = 1.0


class Notice:
    """Listens for a notice in a thread of its own: asking Ray waits for the other workers, and a step should not.

    All workers have to listen, or none. A notice is for one group of workers: the group that Ray starts in the place
    of this one listens anew.
    """

    def __init__(self) -> None:
        self._arrived, self._taken = threading.Event(), False
        threading.Thread(target=self._listen, name="preemption", daemon=True).start()

    def taken(self) -> bool:
        """Whether a notice arrived that nobody has taken yet."""
        new = self._arrived.is_set() and not self._taken
        self._taken = self._taken or new
        return new

    def _listen(self) -> None:
        while ray.train.get_preemption_info() is None:
            time.sleep(_LOOK_EVERY_S)
        self._arrived.set()
