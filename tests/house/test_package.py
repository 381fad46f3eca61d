"""Wheel and sdist hold every room, and work without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("agent", "engine", "evals", "journal", "prompts", "tools")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="only in a source checkout"),
]


def build(source: Path, out: Path, *kinds: str) -> Path:
    """Build distributions with the installed backend, offline."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("dist"), "--wheel", "--sdist")


@pytest.fixture(scope="module")
def wheel_of_sdist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that users get who install from the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    out = build(next(folder.iterdir()), tmp_path_factory.mktemp("rebuilt"), "--wheel")
    return next(out.glob("*.whl"))


def members(wheel: Path) -> set[str]:
    """Files of a wheel, without its own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {n for n in archive.namelist() if ".dist-info/" not in n}


def tracked() -> set[str]:
    """What the package should hold, as the version control knows it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = {f for f in listed.stdout.splitlines() if (ROOT / f).is_file()}
    rooms = {f"aitia/{f}" for f in files if f.split("/")[0] in ROOMS}
    return rooms | {f for f in files if f.startswith("aitia/")}


def test_the_wheel_holds_every_file_of_every_room(dist: Path) -> None:
    """Nothing that is tracked is missing from what users install."""
    assert tracked() - members(next(dist.glob("*.whl"))) == set()


def test_the_sdist_builds_the_same_wheel(dist: Path, wheel_of_sdist: Path) -> None:
    """Links into the rooms do not survive an sdist by themselves; the build has to see to it."""
    assert members(next(dist.glob("*.whl"))) == members(wheel_of_sdist)


def test_the_sdist_holds_every_file_once_and_nothing_compiled(dist: Path) -> None:
    """What a compiler made of this checkout belongs to this machine; the source of the kernel is shipped."""
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = archive.getnames()

    assert len(names) == len(set(names))
    assert [n for n in names if n.endswith((".so", "build.json"))] == []
    assert [n for n in names if n.endswith("engine/kernel/source/module.cpp")] != []


def test_a_wheel_without_a_compiler_is_pure_and_says_why(tmp_path: Path) -> None:
    """The package installs everywhere; where nothing could be compiled numpy does the work."""
    env = {**os.environ, "PATH": str(tmp_path), "CXX": ""}
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(tmp_path.glob("*.whl"))
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "no C++ compiler" in archive.read("aitia/engine/kernel/build.json").decode()
    assert [n for n in members(wheel) if n.endswith(".so")] == []


def test_a_compiled_wheel_serves_every_later_python(dist: Path) -> None:
    """One library for all Pythons from 3.11 on, in a wheel that is tagged for this platform."""
    wheel = next(dist.glob("*.whl"))
    library = "aitia/engine/kernel/_statistics.abi3.so"

    assert (library in members(wheel)) == ("-cp311-abi3-" in wheel.name)
    assert (library not in members(wheel)) == wheel.name.endswith("-py3-none-any.whl")


def test_no_cache_and_no_recording_is_shipped(dist: Path) -> None:
    """What the checkout collects while one works on it stays there."""
    unwanted = [n for n in members(next(dist.glob("*.whl"))) if "__pycache__" in n or ".cache/" in n or ".aitia/" in n]

    assert unwanted == []


@pytest.mark.parametrize("origin", ["wheel", "sdist"])
def test_an_installed_copy_answers(
    origin: str, dist: Path, wheel_of_sdist: Path, tmp_path: Path, synthetic: Path
) -> None:
    """Installed from either distribution, the command line answers about a run, far from the checkout."""
    wheel = next(dist.glob("*.whl")) if origin == "wheel" else wheel_of_sdist
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    env = {**os.environ, "PYTHONPATH": str(site)}

    where = subprocess.run([sys.executable, "-c", "import aitia; print(aitia.__file__)"], cwd=tmp_path, env=env,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)

    done = subprocess.run([sys.executable, "-m", "aitia", "why", "stale_head", "--runs", str(synthetic)], cwd=tmp_path,
                          env=env, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stale_head" in done.stdout
