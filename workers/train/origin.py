"""Which code made a model: the package, the commit it stood at, and the libraries."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

import lga_model

_DISTRIBUTIONS = ("lga-tagger", "torch", "timm", "ray", "numpy", "simplejpeg", "opencv-python-headless", "safetensors")
_GIT_TIMEOUT_S = 10


def origin() -> dict[str, Any]:
    """As plain JSON: versions, the commit where the code is a git checkout, a digest of the method's own source."""
    folder = Path(lga_model.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return {
        "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        "commit": commit_of(folder),
        "method_sha256": digest.hexdigest(),
    }


def commit_of(folder: Path) -> dict[str, Any] | None:
    """Where a git checkout stands, and whether files of it were changed since; None for code that is in none."""
    # A package that was installed somewhere below another project's checkout is not part of it.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    sha1, changed = (
        _git(folder, "rev-parse", "HEAD"),
        _git(folder, "status", "--porcelain", "--untracked-files=no", ":/"),
    )
    return None if sha1 is None else {"sha1": sha1, "dirty": bool(changed)}


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None when it refuses, or is not there."""
    command = ["git", "-C", str(folder), *words]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
