"""A recording of a function that trains, read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aitia.engine.capture.frames import _names
from aitia.engine.capture.observers import all_observers
from aitia.engine.capture.session import Session
from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run


_names[__file__] = None  # stands in for the recorder, which is no user's code


class Mini(Session):
    """The agreed recorder interface and nothing more."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "test", (), None, "normal")
        self.busy = False
        self.tally: dict[str, float] = {}
        self.latest: dict[str, Any] = {}
        self.letters: list[str] = []
        self.rows: list[dict[str, float]] = []
        self.site_of = lambda tensor: -1
        self.scale_of = lambda tensor: 1.0
        self.roots: list[torch.nn.Module] = []
        self.optimizers: list[Any] = []
        self.faults: list[BaseException] = []
        self.orders: Counter[str] = Counter()
        self.stack: list[Any] = []
        self.observers = all_observers(self)  # type: ignore[arg-type]

    def own(self, function: Any, *args: Any) -> Any:
        busy, self.busy = self.busy, True
        try:
            return function(*args)
        except Exception as error:
            self.faults.append(error)
        finally:
            self.busy = busy

    def idle(self) -> bool:
        return self.busy or torch.compiler.is_compiling()

    @property
    def signature(self) -> Any:
        return self

    def line(self) -> str:
        return self.order()

    def letter(self, letter: str) -> None:
        self.letters.append(letter)

    def order(self) -> str:
        return " ".join(self.letters)

    def optimizer_index(self, optimizer: Any) -> int:
        if optimizer not in self.optimizers:
            self.optimizers.append(optimizer)
        return self.optimizers.index(optimizer)

    def name_of(self, module: Any) -> str:
        for root in self.roots:
            for name, m in root.named_modules():
                if m is module:
                    return name
        return "?"

    def tell(self, what: str, *args: Any) -> None:
        for observer in self.observers:
            getattr(observer, what)(*args)

    def __enter__(self) -> Mini:
        for o in self.observers:
            o.install()

        def pre(m: Any, a: Any) -> None:
            if self.busy:
                return
            if not self.stack:
                if m not in self.roots and any(True for _ in m.parameters()):
                    self.roots.append(m)
                if m in self.roots:
                    self.tell("before_root", self.roots.index(m), m, a, {})
            self.stack.append(m)

        def post(m: Any, a: Any, k: Any, out: Any) -> None:
            if self.busy:
                return
            self.stack.pop()
            if not self.stack and m in self.roots:
                self.letters.append("F" if torch.is_grad_enabled() else "E")
                self.tell("after_root", self.roots.index(m), m, a, k, out)

        from torch.nn.modules import module as M
        from torch.optim import optimizer as O

        self.handles = [
            M.register_module_forward_pre_hook(pre),
            M.register_module_forward_hook(post, with_kwargs=True),
            O.register_optimizer_step_pre_hook(lambda o, a, k: self.tell("before_step", o)),
            O.register_optimizer_step_post_hook(lambda o, a, k: self.after(o)),
        ]
        original = self.original = torch.autograd.backward

        def backward(tensors: Any, *a: Any, **k: Any) -> None:
            root = tensors if isinstance(tensors, torch.Tensor) else tensors[0]
            site = self.site_of(root)
            self.letters.append("B")
            self.tell("before_backward", root, site)
            original(tensors, *a, **k)
            self.tell("after_backward", root, site)

        torch.autograd.backward = backward
        return self

    def after(self, optimizer: Any) -> None:
        self.step += 1
        self.letters.append(f"S{self.optimizer_index(optimizer)}")
        self.tell("after_step", optimizer)
        self.orders[self.order()] += 1
        self.rows.append({**self.tally, **{k: float(v) for k, v in self.latest.items()}})
        self.tally.clear()
        self.latest.clear()
        self.letters.clear()

    def __exit__(self, *exc: Any) -> None:
        self.tell("finish")
        for o in reversed(self.observers):
            o.uninstall()
        for h in self.handles:
            h.remove()
        torch.autograd.backward = self.original
        self.close(RunStatus.FINISHED, 0)

    @property
    def run(self) -> Run:
        return Run(self.path)


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Mini]:
    """Use as `with recording: train()`, then read `recording.run`."""
    torch.manual_seed(0)
    recorder = Mini(tmp_path)
    yield recorder
    assert recorder.faults == []
