"""What is compared: nothing, aitia at its levels, and what else people put around a training loop.

Each can be taken off and put back in the middle of the training, so that steps with and without it stand side by side.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from aitia.evals.overhead.workloads import Workload


class MissingError(Exception):
    """A tool that this environment does not have."""


class Nothing:
    """The program as it is; measured against itself it shows the noise of the method."""

    def __init__(self, work: Workload, folder: Path) -> None:
        self.work = work

    def attach(self) -> None:
        """Put the hooks in place."""

    def detach(self) -> None:
        """Take them off."""

    def after(self, loss: Tensor) -> None:
        """What the user calls after each step."""

    def settle(self) -> None:
        """The first seconds are over."""

    def period(self) -> int:
        """Steps after which what the tool does repeats."""
        return 1

    def own_share(self) -> float | None:
        """Share of the program's own time that the tool says it took, since `settle`."""
        return None

    def close(self) -> None:
        """The end."""


class Aitia(Nothing):
    """This project's recorder at one of its levels."""

    def __init__(self, work: Workload, folder: Path, level: Any) -> None:
        super().__init__(work, folder)
        from aitia.engine.capture.recorder import Recorder
        from aitia.engine.capture.session import Session

        self.session = Session(folder, "overhead", (), None, level)
        self.recorder = Recorder(self.session)
        self.settled = 0

    def attach(self) -> None:
        self.recorder.off = False
        self.recorder.install()
        self.recorder.steps.start()

    def detach(self) -> None:
        self.recorder.uninstall()

    def settle(self) -> None:
        self.recorder.pace.settle()
        self.settled = self.session.step

    def period(self) -> int:
        return self.recorder.pace.every

    def own_share(self) -> float | None:
        from aitia.engine.store.reader import Run

        self.session.writer.flush()
        steps, own = Run(self.session.path).scalar("recorder_s")
        _, whole = Run(self.session.path).scalar("step_s")
        late = steps > self.settled
        plain = np.nansum(whole[late]) - np.nansum(own[late])
        return float(np.nansum(own[late]) / plain) if plain > 0 else None

    def close(self) -> None:
        from aitia.engine.records import RunStatus

        self.session.close(RunStatus.FINISHED, 0)


class Hooks(Nothing):
    """Hooks of Python in the places where a recorder needs them, which do nothing: PyTorch's own price of looking."""

    def attach(self) -> None:
        hooks: Any = nn.modules.module
        self.handles: list[Any] = [hooks.register_module_forward_hook(self._leaves)]
        self.handles.append(register_optimizer_step_pre_hook(self._before))
        self.handles.append(register_optimizer_step_post_hook(self._after))

    def _leaves(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.look(out)
        if out.requires_grad:
            out.register_hook(self.look)  # type: ignore[no-untyped-call]  # untyped

    def look(self, x: Tensor) -> None:
        """Called with every output and with the gradient of every output."""

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Called before a step."""

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Called after a step."""

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()


class Reads(Hooks):
    """The same, and one plain read of every byte that the deepest level measures: what no exact recorder can beat."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        kernel = _require("aitia.engine.kernel._statistics")
        self.scan = kernel.scan
        self.parameters = [p for group in work.optimizer.param_groups for p in group["params"]]
        self.copies = [p.detach().clone() for p in self.parameters]

    def look(self, x: Tensor) -> None:
        self._read(x)

    def _read(self, x: Tensor | None) -> None:
        if x is not None and x.is_contiguous():
            self.scan(x, 1)

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        for p in self.parameters:
            self._read(p.grad)
        with torch.no_grad():
            torch._foreach_copy_(self.copies, self.parameters)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        for p, copy in zip(self.parameters, self.copies, strict=True):
            self._read(p)
            self._read(copy)


class Naive(Nothing):
    """The recorder that one writes first: hooks on every layer, `.item()` for every number."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self.rows: list[dict[str, float]] = []
        self.row: dict[str, float] = {}
        self.handles: list[Any] = []
        self.before: dict[str, Tensor] = {}

    def attach(self) -> None:
        for name, module in self.work.model.named_modules():
            if next(module.children(), None) is None:
                self.handles.append(module.register_forward_hook(self._hook(name)))

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            self._numbers(f"{name}.out", out.detach())
            if out.requires_grad:
                out.register_hook(lambda g: self._numbers(f"{name}.gout", g))  # type: ignore[no-untyped-call]  # untyped

        return hook

    def _numbers(self, name: str, x: Tensor) -> None:
        x = x.float()
        self.row[f"{name}.mean"], self.row[f"{name}.std"] = x.mean().item(), x.std().item()
        self.row[f"{name}.min"], self.row[f"{name}.max"] = x.min().item(), x.max().item()
        self.row[f"{name}.norm"], self.row[f"{name}.zero"] = x.norm().item(), (x == 0).float().mean().item()
        self.row[f"{name}.bad"] = (~torch.isfinite(x)).sum().item()

    def after(self, loss: Tensor) -> None:
        self.row["loss"] = loss.item()
        with torch.no_grad():
            for name, p in self.work.model.named_parameters():
                self.row[f"{name}.norm"] = p.norm().item()
                if p.grad is not None:
                    self._numbers(f"{name}.grad", p.grad)
                if name in self.before:
                    self.row[f"{name}.moved"] = (p - self.before[name]).norm().item()
                self.before[name] = p.detach().clone()
        self.rows.append(self.row)
        self.row = {}
        del self.rows[:-1000]

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles, self.before = [], {}


class TensorBoard(Nothing):
    """`SummaryWriter.add_histogram` of every weight and gradient at every step."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder))
        self.n = 0

    def after(self, loss: Tensor) -> None:
        self.n += 1
        self.writer.add_scalar("loss", loss.item(), self.n)
        for name, p in self.work.model.named_parameters():
            self.writer.add_histogram(name, p, self.n)
            if p.grad is not None:
                self.writer.add_histogram(f"{name}.grad", p.grad, self.n)

    def close(self) -> None:
        self.writer.close()


class Wandb(Nothing):
    """`wandb.watch(log="all")` at every step, offline; its own process writes and is not counted."""

    every = 1

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self.tool = _require("wandb")
        os.environ["WANDB_SILENT"] = "true"
        self.run = self.tool.init(mode="offline", dir=str(folder), project="overhead", settings={"console": "off"})

    def attach(self) -> None:
        self.tool.watch(self.work.model, log="all", log_freq=self.every)

    def after(self, loss: Tensor) -> None:
        self.tool.log({"loss": loss.item()})

    def detach(self) -> None:
        self.tool.unwatch(self.work.model)

    def close(self) -> None:
        self.run.finish()


class WandbDefault(Wandb):
    """The same at its own default of every thousandth step."""

    every = 1000


class NeuralDbg(Nothing):
    """neuraldbg's context manager, told of every step and loss."""

    def __init__(self, work: Workload, folder: Path) -> None:
        super().__init__(work, folder)
        self.make = _require("neuraldbg").NeuralDbg
        self.tool: Any = None

    def attach(self) -> None:
        self.tool = self.make(self.work.model)
        self.tool.__enter__()

    def after(self, loss: Tensor) -> None:
        self.tool.step_iteration()
        self.tool.record_loss(loss.item())

    def detach(self) -> None:
        self.tool.__exit__(None, None, None)


class Anomaly(Nothing):
    """`torch.autograd.set_detect_anomaly(True)`."""

    def attach(self) -> None:
        torch.autograd.set_detect_anomaly(True)

    def detach(self) -> None:
        torch.autograd.set_detect_anomaly(False)


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name} is not installed here ({error}); pip install 'aitia[bench]' brings it") from None


def _level(level: str) -> Callable[[Workload, Path], Nothing]:
    return lambda work, folder: Aitia(work, folder, level)


RECORDERS: Final[dict[str, Callable[[Workload, Path], Nothing]]] = {
    "nothing": Nothing,
    "floor: empty hooks": Hooks,
    "floor: hooks and one read": Reads,
    "aitia light": _level("light"),
    "aitia normal": _level("normal"),
    "aitia deep": _level("deep"),
    "naive .item()": Naive,
    "TensorBoard histograms": TensorBoard,
    "wandb.watch all/1": Wandb,
    "wandb.watch all/1000": WandbDefault,
    "neuraldbg": NeuralDbg,
    "detect_anomaly": Anomaly,
}
"""Every recorder by the name under which the table shows it."""


def made(name: str, work: Workload) -> tuple[Nothing, Path]:
    """A recorder, and the temporary folder it writes to."""
    folder = Path(tempfile.mkdtemp(prefix="aitia-overhead-"))
    try:
        return RECORDERS[name](work, folder), folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
