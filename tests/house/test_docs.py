"""What exists is documented, and what is documented exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aitia.engine.causes import CAUSES
from aitia.tools.server import build_server

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "tools/README.md")
VOCABULARY = set((ROOT / "evals" / "causes.txt").read_text("utf-8").split())


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_every_cause_says_all_that_the_catalogue_prints(name: str) -> None:
    """`aitia causes` is the documentation of causes: nothing in it may be empty or point nowhere."""
    cause = CAUSES[name]

    assert cause.id == name
    assert name in VOCABULARY
    assert cause.title
    assert cause.repair
    assert set(cause.mistaken_for) | set(cause.explains) <= VOCABULARY
    assert all(cause.mistaken_for.values())


def test_every_tool_is_described_for_people(tmp_path: Path) -> None:
    """The page that tells how to install the server lists what it offers."""
    text = (ROOT / "tools" / "README.md").read_text("utf-8")
    server = build_server(tmp_path)
    names = [tool.name for tool in server._tool_manager.list_tools()]

    assert len(names) >= 10
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """A relative link names a file that exists."""
    text = (ROOT / page).read_text("utf-8")
    targets = [t.partition("#")[0] for t in re.findall(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)", text)]

    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []


def test_the_readme_begins_with_two_commands() -> None:
    """The first makes an environment and shows the product, the second runs the tests; `.ci/run` runs both."""
    block = re.search(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    first, second = block[1].strip().splitlines()

    assert first.endswith("aitia demo")
    assert second.endswith("pytest")


def test_no_tracked_file_carries_a_path_of_one_machine() -> None:
    """The project must work, and read well, anywhere."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"/(?:work|root|farm)/|/home/\w+/|/tmp/dev")
    found = [
        f"{name}: {match[0]}"
        for name in listed.stdout.splitlines()
        if (path := ROOT / name).is_file() and not path.is_symlink() and not name.startswith("tests/")
        if (match := pattern.search(path.read_text("utf-8", "replace")))
    ]

    assert found == []


def test_the_readmes_python_example_runs(tmp_path: Path) -> None:
    """As it stands there, around a training that forgot to clear its gradients."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    setup = (
        "import torch\n"
        "model = torch.nn.Linear(4, 2)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "loader = [(torch.randn(16, 4), torch.randint(2, (16,))) for _ in range(40)]\n"
        "def train(model, optimizer, loader):\n"
        "    for x, y in loader:\n"
        "        torch.nn.functional.cross_entropy(model(x), y).backward()\n"
        "        optimizer.step()\n"
    )
    (tmp_path / "example.py").write_text(setup + "".join(blocks))
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert blocks
    assert (done.returncode, done.stderr) == (0, "")
    assert "loop.missing_zero_grad" in done.stdout
