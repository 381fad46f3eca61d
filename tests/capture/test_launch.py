"""A recorded program is the same program: output, exceptions, exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aitia.engine.records import RunStatus
from aitia.engine.store.reader import Run

PLAIN = """
    import torch, torch.nn as nn, torch.nn.functional as F
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    for step in range(25):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(repr(loss.item()), torch.rand(1).item())
"""
TRAINER = """
    import random, sys
    import numpy as np
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Trainer:
        def __init__(self, net, opt):
            self.net, self.opt, self.loss = net, opt, nn.MSELoss()
            self.scheduler = torch.optim.lr_scheduler.StepLR(opt, 2, 0.5)
        def fit(self, loader, epochs):
            for _ in range(epochs):
                self.net.train()
                for i, (x, y) in enumerate(loader):
                    loss = self.loss(self.net(x), y) / 2
                    loss.backward()
                    if i % 2:
                        self.opt.step()
                        self.opt.zero_grad(set_to_none=False)
                    print(repr(loss.item()))
                self.scheduler.step()
                self.net.eval()
                with torch.no_grad():
                    print(self.net(x).sum().item(), random.random(), np.random.rand())

    torch.manual_seed(1); random.seed(1); np.random.seed(1)
    data = TensorDataset(torch.randn(96, 4), torch.randn(96, 1))
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    Trainer(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)).fit(DataLoader(data, 16, shuffle=True), 3)
    print(sys.argv, __name__, __file__)
"""
RECURRENT = """
    import torch, torch.nn as nn
    from torch.nn.functional import binary_cross_entropy_with_logits as bce
    torch.manual_seed(2)
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 6)
            self.rnn = nn.LSTM(6, 10, batch_first=True, dropout=0.2, num_layers=2)
            self.head = nn.Linear(10, 1)
        def forward(self, ids, scale=1.0):
            out, (h, c) = self.rnn(self.embed(ids))
            return {"logits": self.head(out).squeeze(-1) * scale, "state": h}
    tagger = Tagger()
    opt = torch.optim.LBFGS(tagger.parameters(), lr=0.1, max_iter=4)
    ids = torch.randint(0, 20, (12, 7)); y = (ids > 9).float()
    def closure():
        opt.zero_grad()
        loss = bce(tagger(ids, scale=0.5)["logits"], y)
        loss.backward()
        return loss
    for _ in range(6):
        print(repr(opt.step(closure).item()))
    print(torch.rand(2).tolist())
"""


@pytest.mark.parametrize("source", [PLAIN, TRAINER, RECURRENT], ids=["plain", "trainer", "recurrent"])
def test_losses_and_random_numbers_are_the_same_bit_for_bit(launch, source: str) -> None:
    """Recording changes no printed digit, and the recorder itself finds nothing to complain about."""
    plain, recorded = launch(source, "--x", "1", recorded=False), launch(source, "--x", "1")

    assert (recorded.code, recorded.out, recorded.err) == (plain.code, plain.out, plain.err)
    assert recorded.run.info.status is RunStatus.FINISHED
    assert recorded.run.n_steps > 0
    assert not recorded.run.facts("recorder")
    assert recorded.run.log_tail() == recorded.out
    assert "train.py" in recorded.run.sources


HOOKED = """
    import sys, atexit, logging
    logging.basicConfig(format="%(message)s")
    logging.warning("to stderr")
    atexit.register(lambda: print("at exit"))
    sys.excepthook = lambda kind, error, tb: print("own hook", kind.__name__, tb.tb_lineno)
    print(sys.stdout.isatty(), sys.stdout.fileno(), sys.argv, sys.path[0])
    import warnings
    warnings.warn("careful")
    1 / 0
"""

CRASHES = {
    "hooked": HOOKED,
    "shapes": """
        import torch, torch.nn as nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
                self.head = nn.Linear(33, 4)
            def forward(self, x):
                return self.head(self.body(x))
        model = Net()
        model(torch.randn(16, 8))
        """,
    "backward": """
        import torch
        model = torch.nn.Linear(3, 1)
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = model(torch.ones(2, 3)).sum()
        loss.backward()
        opt.step()
        loss.backward()
        """,
    "chained": """
        import torch
        try:
            torch.nn.Linear(3, 1)(torch.ones(2, 4))
        except RuntimeError as error:
            raise ValueError("bad data") from error
        """,
    "exit": "import sys, torch\nsys.exit('no data')\n",
    "code": "import sys\nprint('x')\nsys.exit(7)\n",
    "syntax": "x = (\n",
    "import": "import torch\nimport no_such_module_at_all\n",
}


@pytest.mark.parametrize("name", CRASHES)
def test_exceptions_and_exit_codes_are_those_of_plain_python(launch, name: str) -> None:
    """Traceback, message and exit code do not tell that somebody watched."""
    plain, recorded = launch(CRASHES[name], recorded=False), launch(CRASHES[name])

    assert (recorded.code, recorded.err, recorded.out) == (plain.code, plain.err, plain.out)
    assert recorded.run.info.status is RunStatus.CRASHED


def test_a_crash_is_kept_with_module_inputs_and_parameters(launch) -> None:
    """The failure names the innermost module, what it was given and what it has."""
    run = launch(CRASHES["shapes"]).run
    failure = run.info.failure

    assert (failure.type, failure.phase, failure.module, failure.module_class) == (
        "RuntimeError",
        "forward",
        "head",
        "Linear",
    )
    assert failure.inputs == ("float32[16, 32]",)
    assert failure.parameters["weight"] == "float32[4, 33]"
    assert (failure.file, failure.line) == ("train.py", 9)
    assert run.fact("exception").subject == "head"


ENDLESS = """
import torch, time
model = torch.nn.Linear(3, 1)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
while True:
    model(torch.ones(2, 3)).sum().backward()
    opt.step(); opt.zero_grad()
    time.sleep(0.01)
"""


def _steps(runs: Path) -> int:
    """Steps of the growing run that a reader can see."""
    return max((Run(p.parent.parent).n_steps for p in runs.glob("*/series/step-*.arrow")), default=0)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, RunStatus.KILLED), (signal.SIGTERM, RunStatus.STOPPED), (signal.SIGINT, RunStatus.STOPPED)],
    ids=["kill", "term", "int"],
)
def test_a_killed_run_keeps_all_but_its_last_second(tmp_path: Path, number: int, status: RunStatus) -> None:
    """After a signal the run can be read, knows how it ended, and the process died of that signal."""
    (tmp_path / "train.py").write_text(ENDLESS)
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "aitia.engine.capture.launch", "--runs", str(runs), "train.py"]
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
    try:
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    finally:
        signal.signal(signal.SIGINT, heard)
    deadline = time.monotonic() + 90
    try:
        while time.monotonic() < deadline and _steps(runs) <= 20:
            time.sleep(0.2)
        process.send_signal(number)
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
    run = Run(next(runs.iterdir()))

    assert code == -number
    assert run.info.status is status
    assert run.n_steps > 20


def test_a_module_runs_as_with_dash_m(tmp_path: Path) -> None:
    """`-m package.train` sees the arguments and names that plain python gives it."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("VALUE = 5\n")
    text = "import sys\nfrom . import helper\nprint(__name__, __package__, sys.argv[1:], sys.path[0], helper.VALUE)\n"
    (package / "train.py").write_text(text)

    def go(*before: str) -> str:
        command = [sys.executable, *before, "-m", "package.train", "a", "b"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True).stdout

    assert go("-m", "aitia.engine.capture.launch", "--runs", "runs") == go()
    run = Run(next((tmp_path / "runs").iterdir()))
    assert set(run.sources) >= {"package/train.py", "package/helper.py"}


def test_switched_off_the_program_runs_alone(launch, monkeypatch) -> None:
    """AITIA=0: same output and exit code, no run directory."""
    monkeypatch.setenv("AITIA", "0")
    outcome = launch("import sys\nprint(sys.argv, __name__)\nsys.exit(3)\n", "a")

    assert (outcome.code, outcome.out) == (3, "['train.py', 'a'] __main__\n")
    assert outcome.run is None
