"""Puts another tool's hooks into an unchanged program and writes down what the tool found.

Runs in the other tool's own virtual environment and imports nothing of this project. As its own documentation asks of a
user, each tool gets the model, its optimizer, the loss after every step, and is asked for its findings at the end.

`python drive.py PEER` reads jobs from stdin, one JSON object per line (`folder`, `args`, `limit_s`), runs
`folder/train.py` of each in a fork with the tool attached, and answers each with one line: `folder/findings.json` holds
a list of the tool's own words, the gravest first.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SCRIPT = "train.py"
AUDIT_EVERY = 10
"""torch-audit's default of 1000 steps would look at these short programs once; every step would be slow."""


class Neuraldbg:
    """neuraldbg: a context manager around the loop, told of every step and loss."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        from neuraldbg import NeuralDbg

        self.tool = NeuralDbg(model)
        self.tool.__enter__()

    def step(self, loss: float | None) -> None:
        self.tool.step_iteration()
        if loss is not None:
            self.tool.record_loss(loss)

    def words(self) -> list[str]:
        self.tool.__exit__(None, None, None)
        events = sorted(self.tool.get_events(), key=lambda e: (-e.confidence, e.step))
        calm = {"healthy", "normal", "stable"}
        return [f"{e.event_type.value}:{e.to_state}" for e in events if e.to_state not in calm]


class Torchmortem:
    """torchmortem: an autopsy object that is told of every step."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        from torchmortem import Autopsy

        self.tool = Autopsy(model, optimizer=optimizer)
        self.tool.attach()

    def step(self, loss: float | None) -> None:
        self.tool.step(**({} if loss is None else {"loss": loss}))

    def words(self) -> list[str]:
        self.tool.detach()
        report = self.tool.get_report()
        found = sorted((f for f in report.findings if f.severity >= 1), key=lambda f: -f.severity)
        return [f.title.partition(" in ")[0] for f in found]


class TorchAudit:
    """torch-audit: patches model and optimizer by itself."""

    def __init__(self, model: Any, optimizer: Any) -> None:
        from torch_audit import autopatch

        self.tool = autopatch(model, optimizer=optimizer, every_n_steps=AUDIT_EVERY, reporters=[])

    def step(self, loss: float | None) -> None:
        pass

    def words(self) -> list[str]:
        result = self.tool.finish(report=False)
        order = {"FATAL": 0, "ERROR": 1, "WARN": 2}
        found = [f for f in result.findings if f.severity.name in order]
        return [f.rule_id for f in sorted(found, key=lambda f: order[f.severity.name])]


PEERS = {"neuraldbg": Neuraldbg, "torchmortem": Torchmortem, "torch-audit": TorchAudit}


class Attached:
    """Waits for the first model in training and an optimizer that holds its parameters, then attaches the tool."""

    def __init__(self, peer: str) -> None:
        self.make = PEERS[peer]
        self.tool: Any = None
        self.optimizers: list[Any] = []
        self.loss: float | None = None
        self.error = ""

    def install(self) -> None:
        import torch
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

        built, backward = Optimizer.__init__, torch.Tensor.backward

        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            built(optimizer, *args, **kwargs)
            self.optimizers.append(optimizer)

        def run_backward(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if tensor.numel() == 1:
                self.loss = float(tensor.detach())
            return backward(tensor, *args, **kwargs)

        Optimizer.__init__ = init
        torch.Tensor.backward = run_backward
        register_module_forward_pre_hook(self.entered)
        register_optimizer_step_post_hook(self.stepped)

    def entered(self, module: Any, inputs: Any) -> None:
        import torch

        if self.tool is not None or self.error or not torch.is_grad_enabled():
            return
        mine = {id(p) for p in module.parameters()}
        held = [o for o in self.optimizers if any(id(p) in mine for g in o.param_groups for p in g["params"])]
        if not mine or not held:
            return
        try:
            self.tool = self.make(module, held[-1])
        except Exception:
            self.error = traceback.format_exc()

    def stepped(self, optimizer: Any, *args: Any) -> None:
        if self.tool is None or self.error:
            return
        try:
            self.tool.step(self.loss)
        except Exception:
            self.error = traceback.format_exc()

    def findings(self) -> dict[str, Any]:
        words: list[str] = []
        if self.tool is not None and not self.error:
            try:
                words = list(dict.fromkeys(self.tool.words()))
            except Exception:
                self.error = traceback.format_exc()
        return {"words": words, "error": self.error, "attached": self.tool is not None}


def become(peer: str, job: dict[str, Any]) -> None:
    """In the child: run the program with the tool attached, write the findings, and never return."""
    folder, findings = Path(job["folder"]), {"words": [], "error": "did not end", "attached": False}
    try:
        os.setsid()
        os.chdir(folder)
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        sys.argv = [SCRIPT, *job["args"]]
        sys.path[0] = str(folder)
        attached = Attached(peer)
        attached.install()
        with contextlib.suppress(BaseException):  # a program that dies is what the tool is asked about
            runpy.run_path(str(folder / SCRIPT), run_name="__main__")
        findings = attached.findings()
    finally:
        (folder / "findings.json").write_text(json.dumps(findings), encoding="utf-8")
        os._exit(0)


def main() -> None:
    """Serve jobs from stdin until it ends."""
    peer = sys.argv[1]
    import numpy  # noqa: F401 - imported once, so that every fork starts at once
    import torch.utils.data  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(peer, job)
        deadline = time.monotonic() + job["limit_s"]
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.02)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
