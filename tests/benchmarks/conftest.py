from __future__ import annotations

import sys
from pathlib import Path

# Programs that are run as files find their parts beside them; so must their tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
