"""A node of Ray in a process of its own, as ``ray start --block`` runs it in a pod: asked to end, it drains first.

``ray start`` itself joins no cluster that keeps to the loopback.
"""

from __future__ import annotations

import signal
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams

address, memory_bytes = sys.argv[1:]
parameters = RayParams(
    gcs_address=address,
    num_cpus=1,
    object_store_memory=int(memory_bytes),
    node_ip_address="127.0.0.1",
    dashboard_agent_listen_port=None,  # The head's agent has the usual one.
    include_log_monitor=False,
)
Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
while True:
    signal.pause()
