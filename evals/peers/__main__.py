"""Make one virtual environment per tool: `python -m aitia.evals.peers FOLDER`."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from aitia.evals.peers import ATTACHED, LOG_READERS


def main(folder: Path) -> None:
    """Install each tool, with what the programs need where it runs them."""
    for name in (*ATTACHED, *LOG_READERS):
        place = folder / name
        print(f"{place} …", flush=True)
        venv.create(place, with_pip=True)
        packages = [name, "torch", "scikit-learn"] if name in ATTACHED else [name]
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m aitia.evals.peers FOLDER")
    main(Path(sys.argv[1]))
