"""How often torch.compile compiled the same code again, and why: read from its own counters when the program ends."""

from __future__ import annotations

import sys
from typing import Any, Final

from aitia.engine.capture.observers.base import Observer

MAX_REASONS: Final = 12
REASON: Final = 160
"""Characters of one reason."""


class Watch(Observer):
    """Looks only where the program has loaded the compiler."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._before = _compilations()
        """Made before this recording, by the same process."""

    def finish(self) -> None:
        earlier = {id(one) for one in self._before}
        frames: dict[str, int] = {}
        reasons: list[str] = []
        seconds, limit = 0.0, False
        for one in _compilations():
            if id(one) in earlier:
                continue
            frame = str(getattr(one, "frame_key", None))
            why = getattr(one, "recompile_reason", None)
            limit = limit or "recompile limit" in str(getattr(one, "fail_reason", ""))
            if frame != "None":
                frames[frame] = frames.get(frame, 0) + 1
            if why:
                reasons.append(str(why).splitlines()[0][:REASON])
            seconds += float(getattr(one, "entire_frame_compile_time_s", None) or 0.0)
        if frames:
            data = {"n_frames": len(frames), "n": sum(frames.values()), "again": len(reasons), "seconds": seconds}
            self.recorder.fact("compilations", data={**data, "limit": limit, "reasons": reasons[:MAX_REASONS]})


def _compilations() -> list[Any]:
    dynamo: Any = sys.modules.get("torch._dynamo.utils")
    return list(dynamo.get_compilation_metrics()) if dynamo is not None else []
