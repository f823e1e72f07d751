"""Write what is derived, or with ``--check`` say which of it is out of date: ``python deploy/generate.py [--check]``.

docs/metrics.md            from the program's own registries
deploy/grafana/*.json      from deploy/dashboards.py
deploy/helm/lga/README.md  the table of values, from values.yaml; values.schema.json too
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chart_values import CHART, readme, schema
from dashboards import DASHBOARDS, dashboard_json
from metrics_table import metrics_page

ROOT = Path(__file__).resolve().parents[1]


def derived() -> dict[Path, str]:
    """Every derived file with the content that it should have."""
    return {
        ROOT / "docs" / "metrics.md": metrics_page(),
        CHART / "README.md": readme(),
        CHART / "values.schema.json": schema(),
        **{ROOT / "deploy" / "grafana" / f"{name}.json": dashboard_json(name) for name in DASHBOARDS},
    }


def main(arguments: list[str]) -> int:
    """Write or check; 1 when a check finds something old."""
    stale = {path: text for path, text in derived().items() if not path.is_file() or path.read_text() != text}
    for path, text in stale.items():
        name = path.relative_to(ROOT)
        if arguments == ["--check"]:
            print(f"{name} is out of date; write it with: python deploy/generate.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {name}")
    return int(bool(stale) and arguments == ["--check"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
