"""The model registry: numbered versions that never change, and aliases that move.

    <root>/<name>/versions/0007/{training.json, metrics.json, model.safetensors, model.json}
    <root>/<name>/versions/0007/engines/<target>-<key>/{engine.bin, engine.json}
    <root>/<name>/versions/0007/building/<target>-<precision>.json    who builds such an engine, or did last
    <root>/<name>/aliases/production.json

A publisher claims a number by writing ``training.json`` on condition that it is not there yet, and writes
``model.json`` last: a version exists once that file does. A publisher that dies in between leaves a number that nobody
uses again. An alias moves by compare-and-swap and keeps its history. Folder and bucket behave alike.
"""

from __future__ import annotations

from workers.registry.aliases import Alias, Move
from workers.registry.names import METRICS_FILE, RECORD_FILE, TRAINING_FILE, WEIGHTS_FILE, Version
from workers.registry.versions import Registry

__all__ = [
    "METRICS_FILE",
    "RECORD_FILE",
    "TRAINING_FILE",
    "WEIGHTS_FILE",
    "Alias",
    "Move",
    "Registry",
    "Version",
]
