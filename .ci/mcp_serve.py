"""Serves synthetic runs over HTTP without a token, for the conformance suite, which cannot send one. Never for use."""

from __future__ import annotations

import sys
from pathlib import Path

from aitia.tools.server import build_server

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from runs import STORIES, write_run  # the builder lives with the tests that share it

if __name__ == "__main__":
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    for story in STORIES:
        if not (root / f"20260101-000000-{story}").exists():
            write_run(root, story)
    build_server(root).run("streamable-http", host="127.0.0.1", port=port)
