"""A bill of materials (CycloneDX 1.6, JSON) of an environment, to stdout: ``python deploy/sbom.py [ENVIRONMENT]``.

Read from the metadata that every installed package carries; needs no network and no tool.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any


def bill(folders: list[str]) -> dict[str, Any]:
    """The document.

    Args:
        folders: Where packages lie, as in ``sys.path``.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in importlib.metadata.distributions(path=folders):
        name = re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower()
        found.setdefault(name, _component(name, each))
    components = [component for _, component in sorted(found.items())]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def _component(name: str, distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{distribution.version}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version, "purl": purl}
    licence = distribution.metadata.json.get("license_expression")
    return component | ({"licenses": [{"expression": licence}]} if licence else {})


def main(arguments: list[str]) -> None:
    """Write the bill of one environment, of this one without an argument."""
    folders = [str(path) for path in Path(arguments[0]).glob("lib/python3*/site-packages")] if arguments else sys.path
    if not folders:
        sys.exit(f"{arguments[0]} is no Python environment: it has no lib/python3*/site-packages")
    print(json.dumps(bill(folders), indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
