"""Imports point one way, and each outside library is touched in one place (DESIGN section 2)."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from workers.__main__ import JOBS
from workers.settings import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("lga_model/**/*.py"), *ROOT.glob("workers/**/*.py")])

LAYERS = [
    {"lga_model"},
    {"workers.errors"},
    {"workers.settings"},
    {"workers.console", "workers.logs", "workers.metrics", "workers.progress"},
    {"workers.storage", "workers.downloads", "workers.lease", "workers.patience", "workers.runtime"},
    {"workers.documents", "workers.manifest", "workers.registry", "workers.engines", "workers.tags", "workers.runs"},
    {"jobs"},
    {"workers.__main__"},
]
"""A module may import from its own layer and from those above it in this list."""

ONLY_IN = {
    "boto3": {"workers.storage.s3"},
    "botocore": {"workers.storage.s3"},
    "obstore": {"workers.downloads"},
    "tensorrt": {"workers.engines.tensorrt"},
    "onnxruntime": {"workers.engines.onnxruntime", "workers.engines.int8"},
    "openvino": {"workers.engines.openvino"},
    "nncf": {"workers.engines.openvino"},
    "tensorrt_rtx_bindings": {"workers.engines.tensorrt"},
    "pydantic_settings": {"workers.settings"},
    "prometheus_client": {
        "workers.metrics",
        "workers.compile.metrics",
        "workers.score.metrics",
        "workers.train.metrics",
        "workers.storage.requests",
    },
}
"""Libraries that only these modules, and what lies below them, may import."""

FORBIDDEN_IN_MODEL = {
    "ray",
    "boto3",
    "botocore",
    "tensorrt",
    "onnxruntime",
    "structlog",
    "pydantic_settings",
    "workers",
}
"""The method knows nothing of the world."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, members: set[str]) -> bool:
    return any(module == member or module.startswith(f"{member}.") for member in members)


def layer(module: str) -> int:
    for number, members in enumerate(LAYERS):
        if within(module, members):
            return number
    return LAYERS.index({"jobs"})


def job(module: str) -> str | None:
    """The job that a module belongs to, or None for shared ground."""
    return module.split(".")[1] if layer(module) == LAYERS.index({"jobs"}) and module.count(".") else None


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_one_way(path):
    """
    A module imports from its own layer or below; a job never imports another job.
    """
    module = module_name(path)
    ours = {name for name in imports(path) if name.split(".")[0] in {"lga_model", "workers"} and name != "workers"}
    upward = {name for name in ours if layer(name) > layer(module)}
    sideways = {name for name in ours if job(name) and job(module) not in {None, "demo"} and job(name) != job(module)}

    assert set() == upward
    assert set() == sideways


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_each_library_has_its_one_place(path):
    """
    boto3 is known to storage alone, an engine's runtime to its own file alone; the method knows no world.
    """
    module = module_name(path)
    tops = {name.split(".")[0] for name in imports(path)}
    misplaced = {library for library in tops & ONLY_IN.keys() if not within(module, ONLY_IN[library])}
    worldly = tops & FORBIDDEN_IN_MODEL if module.split(".")[0] == "lga_model" else set()

    assert set() == misplaced
    assert set() == worldly


TOP_LEVEL = {
    *("workers", "lga_model", "deploy", "tests", "benchmarks", "docs", ".ci"),
    *("pyproject.toml", "requirements.lock", "Makefile", "Dockerfile", ".dockerignore", ".gitignore"),
    *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
}
"""What a newcomer sees first is chosen."""


def test_the_top_level_stays_small():
    """
    No stray file is committed to the top of the repository.
    """
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")

    assert {path.split("/")[0] for path in listed.stdout.splitlines()} == TOP_LEVEL


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_environment_is_read_in_settings_alone(path):
    """
    No module but ``workers.settings.reading`` reads a variable; copying the whole environment for a child is allowed.
    """
    reads = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.Subscript)
            and ast.unparse(node.value) == "os.environ"
            and isinstance(node.ctx, ast.Load)
        )
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"})
    ]

    assert [] == (reads if module_name(path) != "workers.settings.reading" else [])


def test_names_say_what_a_file_does():
    """
    No file is called utils, helpers, common, base or manager.
    """
    vague = {"utils", "util", "helpers", "common", "base", "manager", "misc"}

    assert [] == [str(path) for path in SOURCES if path.stem in vague]


def test_every_command_has_a_job():
    """
    What the command line offers can be imported and called.
    """
    assert COMMANDS.keys() == JOBS.keys()
    for target in JOBS.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(f"workers.{module}"), function))
