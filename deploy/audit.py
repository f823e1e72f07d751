"""Hold the lock against a database of known vulnerabilities: ``python deploy/audit.py DATABASE [requirements.lock]``.

The database is OSV's export of PyPI, as a zip archive or a folder of JSON files. Needs no network; where there is no
database it says so and finds no fault. Exit code 1 when a pinned version is known to be vulnerable.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
ACCEPTED: dict[str, str] = {}
"""Advisories that we live with: id -> why it cannot reach us, and until when."""


def pinned(lock: Path) -> dict[str, Version]:
    """Name and version of every package in a lock."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
    return {_normal(name): Version(version) for name, version in found}


def advisories(database: Path) -> Iterator[dict[str, Any]]:
    """Every advisory of a database that was not withdrawn."""
    if database.is_dir():
        texts: Iterator[bytes | str] = (path.read_bytes() for path in sorted(database.glob("*.json")))
    else:
        archive = zipfile.ZipFile(database)
        texts = (archive.read(name) for name in archive.namelist() if name.endswith(".json"))
    yield from (entry for entry in map(json.loads, texts) if "withdrawn" not in entry)


def is_affected(version: Version, affected: dict[str, Any]) -> bool:
    """Whether an advisory's entry for a package covers a version (the rules of the OSV schema)."""
    if str(version) in affected.get("versions", ()):
        return True
    return any(_in_range(version, each["events"]) for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM")


def _in_range(version: Version, events: list[dict[str, str]]) -> bool:
    inside = False
    bounds = [(Version(text), kind) for event in events for kind, text in event.items() if _is_version(text)]
    for bound, kind in sorted(bounds):
        if kind == "introduced" and version >= bound:
            inside = True
        elif (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            inside = False
    return inside


def _is_version(text: str) -> bool:
    """Advisories are written by hand, and some name what never was a version."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def findings(lock: Path, database: Path) -> tuple[int, list[str]]:
    """How many advisories there are, and one line for each that covers a pinned version."""
    packages, count, lines = pinned(lock), 0, []
    for advisory in advisories(database):
        count += 1
        for affected in advisory.get("affected", ()):
            name = _normal(affected["package"]["name"])
            if affected["package"]["ecosystem"] != "PyPI" or name not in packages or advisory["id"] in ACCEPTED:
                continue
            if is_affected(packages[name], affected):
                names = ", ".join([advisory["id"], *advisory.get("aliases", ())])
                lines.append(f"{name} {packages[name]}: {names}: {advisory.get('summary', 'see the advisory')}")
    return count, sorted(set(lines))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Audit, and tell."""
    database, lock = Path(arguments[0]).expanduser(), Path(arguments[1]) if len(arguments) > 1 else LOCK
    if not database.exists():
        print(f"no database of vulnerabilities at {database}: dependencies were not audited (see SECURITY.md)")
        return 0
    count, lines = findings(lock, database)
    print("\n".join([*lines, f"{len(lines)} known vulnerabilities in {lock.name}; {count} advisories were looked at"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
