"""Each repair changes the lines that are wrong, and no other character of the file."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from textwrap import dedent

import pytest
from programs import accuse, run_of

from aitia.agent.fix import FileChangedError, apply, patch_for, propose
from aitia.agent.repairs import REPAIRS
from aitia.engine.causes import CAUSES

LOOP = """\
    import torch
    from torch import nn
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)   # a comment that stays
    for epoch in range(3):
        for x, y in loader:
            {0}
    """

CASES = [
    ("loop.missing_zero_grad", (7, 8), ["loss = f(model(x), y)", "loss.backward()", "optimizer.step()"],
     {"+            optimizer.zero_grad()"}),
    ("loop.zero_grad_after_backward", (8,), ["loss.backward()", "optimizer.zero_grad()", "optimizer.step()"],
     {"+        optimizer.zero_grad()", "-        optimizer.zero_grad()"}),
    ("optimizer.never_stepped", (), ["optimizer.zero_grad()", "loss.backward()"], {"+        optimizer.step()"}),
    ("precision.int_or_dtype_truncation", (7,), ["x = (pixels // 255).float()"],
     {"-        x = (pixels // 255).float()", "+        x = (pixels / 255).float()"}),
    ("optimizer.silent_no_update", (), ["for p in (w, b):", "    p = p - lr * p.grad"],
     {"-            p = p - lr * p.grad", "+            p -= lr * p.grad"}),
    ("loop.clip_before_backward", (7,),
     ["nn.utils.clip_grad_norm_(model.parameters(), 1.0)", "loss.backward()", "optimizer.step()"],
     {"-        loss.backward()", "+        loss.backward()"}),
    ("amp.clip_before_unscale", (8,),
     ["scaler.scale(loss).backward()", "nn.utils.clip_grad_norm_(model.parameters(), 1.0)", "scaler.step(optimizer)"],
     {"+        scaler.unscale_(optimizer)"}),
    ("scheduler.stepped_per_batch", (9,),
     ["loss.backward()", "optimizer.step()", "scheduler.step()"],
     {"-        scheduler.step()", "+    scheduler.step()"}),
    ("loop.accumulation_not_normalized", (),
     ["loss.backward()", "if (i + 1) % 4 == 0:", "    optimizer.step()"],
     {"-        loss.backward()", "+        (loss / 4).backward()"}),
    ("resource.retain_graph", (), ["loss.backward(retain_graph=True)"],
     {"-        loss.backward(retain_graph=True)", "+        loss.backward()"}),
    ("resource.graph_retained_by_history", (), ["loss.backward()", "history.append(loss)", "total += loss * 2"],
     {"-        history.append(loss)", "+        history.append(loss.detach())",
      "-        total += loss * 2", "+        total += loss.detach() * 2"}),
    ("loss.sign_flipped", (), ["loss = -nn.functional.mse_loss(model(x), y)", "loss.backward()"],
     {"-        loss = -nn.functional.mse_loss(model(x), y)", "+        loss = nn.functional.mse_loss(model(x), y)"}),
    ("loss.shape_broadcast", (7,), ["loss = nn.functional.mse_loss(model(x), y)"],
     {"-        loss = nn.functional.mse_loss(model(x), y)",
      "+        loss = nn.functional.mse_loss(model(x).reshape(y.shape), y)"}),
    ("loss.shape_broadcast", (7,), ["loss = ((model(x) - y) ** 2).mean()"],
     {"-        loss = ((model(x) - y) ** 2).mean()", "+        loss = ((model(x).reshape(y.shape) - y) ** 2).mean()"}),
    ("loss.double_softmax", (), ["loss = nn.functional.cross_entropy(torch.softmax(model(x), 1), y)"],
     {"-        loss = nn.functional.cross_entropy(torch.softmax(model(x), 1), y)",
      "+        loss = nn.functional.cross_entropy(model(x), y)"}),
    ("loss.missing_log", (), ["loss = nn.functional.nll_loss(model(x).softmax(1), y)"],
     {"-        loss = nn.functional.nll_loss(model(x).softmax(1), y)",
      "+        loss = nn.functional.nll_loss(model(x).log_softmax(1), y)"}),
    ("loss.reduction_scale", (), ["loss = nn.functional.mse_loss(model(x), y, reduction='sum')"],
     {"-        loss = nn.functional.mse_loss(model(x), y, reduction='sum')",
      "+        loss = nn.functional.mse_loss(model(x), y, reduction='mean')"}),
    ("numerics.log_zero", (7,), ["loss = -(y * torch.log(p) + (1 - y) * (1 - p).log()).mean()"],
     {"-        loss = -(y * torch.log(p) + (1 - y) * (1 - p).log()).mean()",
      "+        loss = -(y * torch.log(p.clamp_min(1e-12)) + (1 - y) * ((1 - p).clamp_min(1e-12)).log()).mean()"}),
    ("numerics.log_zero", (7,), ["loss = -torch.log(torch.softmax(z, -1))[0]"],
     {"-        loss = -torch.log(torch.softmax(z, -1))[0]", "+        loss = -torch.log_softmax(z, -1)[0]"}),
    ("numerics.sqrt_at_zero_backward", (7,), ["d = torch.sqrt((a - b).pow(2).sum(1))"],
     {"-        d = torch.sqrt((a - b).pow(2).sum(1))", "+        d = torch.sqrt((a - b).pow(2).sum(1) + 1e-12)"}),
    ("numerics.sqrt_at_zero_backward", (7,), ["d = x.std(dim=1)"],
     {"-        d = x.std(dim=1)", "+        d = (x.var(dim=1) + 1e-12).sqrt()"}),
    ("artifact.best_state_aliased", (7,), ["best = model.state_dict()"],
     {"-        best = model.state_dict()",
      "+        best = {k: v.clone() for k, v in model.state_dict().items()}"}),
    ("artifact.best_state_aliased", (7,), ["best = model.state_dict().copy()"],
     {"-        best = model.state_dict().copy()",
      "+        best = {k: v.clone() for k, v in model.state_dict().items()}"}),
    ("graph.inplace_modification", (7,), ["h += model(x)"], {"-        h += model(x)", "+        h = h + model(x)"}),
    ("data.order_not_shuffled", (), ["loader = DataLoader(train_set, batch_size=8)"],
     {"-        loader = DataLoader(train_set, batch_size=8)",
      "+        loader = DataLoader(train_set, batch_size=8, shuffle=True)"}),
    ("optimizer.lr_too_high", (4,), ["pass"],
     {"-optimizer = torch.optim.SGD(model.parameters(), lr=1.0)   # a comment that stays",
      "+optimizer = torch.optim.SGD(model.parameters(), lr=0.1)   # a comment that stays"}),
    ("optimizer.lr_too_low", (4,), ["pass"],
     {"-optimizer = torch.optim.SGD(model.parameters(), lr=1.0)   # a comment that stays",
      "+optimizer = torch.optim.SGD(model.parameters(), lr=10)   # a comment that stays"}),
    ("loss.ignore_index_hits_real_class", (), ["f = nn.CrossEntropyLoss(ignore_index=0)"],
     {"-        f = nn.CrossEntropyLoss(ignore_index=0)", "+        f = nn.CrossEntropyLoss(ignore_index=-100)"}),
    ("loss.clipped_loss", (), ["loss = loss.clamp(max=5)"],
     {"-        loss = loss.clamp(max=5)", "+        loss = loss"}),
    ("graph.non_differentiable_op", (7,), ["bits = p.round()"],
     {"-        bits = p.round()", "+        bits = (p + (p.round() - p).detach())"}),
    ("graph.non_differentiable_op", (7,), ["bits = (p > 0.5).float()"],
     {"-        bits = (p > 0.5).float()", "+        bits = (p + ((p > 0.5).float() - p).detach())"}),
    ("data.repeated_batch", (), ["x, y = next(iter(loader))"],
     {"-        x, y = next(iter(loader))", "+        x, y = next(batches)",
      "+batches = (batch for _ in iter(int, 1) for batch in loader)  # pass after pass"}),
    ("amp.no_scaler_underflow", (), ["with torch.autocast('cpu', dtype=torch.float16):", "    pass"],
     {"-        with torch.autocast('cpu', dtype=torch.float16):",
      "+        with torch.autocast('cpu', dtype=torch.bfloat16):"}),
    ("precision.low_precision_weights", (), ["model = model.bfloat16()"],
     {"-        model = model.bfloat16()", "+        model = model.float()"}),
    ("artifact.normalizer_not_saved", (7,), ["self.mean = x.mean(0)"],
     {"-        self.mean = x.mean(0)", '+        self.register_buffer("mean", x.mean(0))'}),
    ("scheduler.reset_on_resume", (),
     ["torch.save({'m': model.state_dict(), 'o': optimizer.state_dict()}, 'x')",
      "model.load_state_dict(state['m'])"],
     {"+        optimizer.load_state_dict(state['o'])"}),
    ("optimizer.never_stepped", (),
     ["loss.backward()", "for i, b in enumerate(loader):", "    if i == len(loader):", "        optimizer.step()"],
     {"-            if i == len(loader):", "+            if i == len(loader) or i + 1 == len(loader):"}),
]  # fmt: skip


def changes(before: str, after: str) -> set[str]:
    """Lines taken out and put in."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[2:]
    return {line for line in lines if not line.startswith("@@")}


def normal(lines: set[str]) -> set[str]:
    """The same without indentation, which the table does not repeat exactly."""
    return {line[0] + line[1:].strip() for line in lines}


@pytest.mark.parametrize(
    ("cause", "lines", "body", "expected"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)]
)
def test_only_the_wrong_lines_change(
    tmp_path: Path, cause: str, lines: tuple[int, ...], body: list[str], expected: set[str]
) -> None:
    """What is taken out and put in is exactly this."""
    source = dedent(LOOP).format(f"\n{' ' * 8}".join(body))
    run = run_of(tmp_path, source, optimizers={"optimizer": 4}, groups={"lr": 1.0})

    patch = patch_for(run, accuse(cause, *lines))

    assert patch is not None
    after = patch.files["train.py"]
    assert normal(changes(source, after)) == normal(expected)
    ast.parse(after)


def test_every_repair_belongs_to_a_known_cause() -> None:
    """The table's keys are ids of the catalogue's vocabulary."""
    groups = {cause.partition(".")[0] for cause in CAUSES}

    assert {c for c in REPAIRS if c.partition(".")[0] not in groups} == set()


STALE = """\
import torch
from torch import nn
model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
optimizer = torch.optim.SGD(
    model.parameters(),
    lr=0.1,
)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
print("made")
model[1] = nn.Linear(8, 3)
for x in []:
    optimizer.step()
"""


def test_an_optimizer_moves_with_what_hangs_on_it(tmp_path: Path) -> None:
    """Optimizer and scheduler go behind the replacement, as they were written."""
    patch = patch_for(
        run_of(tmp_path, STALE, optimizers={"optimizer": 4}), accuse("optimizer.stale_param_reference", 4)
    )

    assert patch is not None
    lines = patch.files["train.py"].splitlines()
    assert lines[3:6] == ['print("made")', "model[1] = nn.Linear(8, 3)", "optimizer = torch.optim.SGD("]
    assert lines[9] == "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)"
    assert sorted(lines) == sorted(STALE.splitlines())


def test_an_optimizer_that_has_stepped_is_built_anew(tmp_path: Path) -> None:
    """Where it trained before the replacement it stays, and a second one is made."""
    source = STALE.replace('print("made")', "fit(model, optimizer)")

    patch = patch_for(
        run_of(tmp_path, source, optimizers={"optimizer": 4}), accuse("optimizer.stale_param_reference", 4)
    )

    assert patch is not None
    assert patch.files["train.py"].count("torch.optim.SGD(") == 2


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("lr=args.rate", 'parser.add_argument("--rate", default=10.0, type=float)'),
        ("lr=LEARNING_RATE", "LEARNING_RATE = 10.0"),
        ('lr=config["rate"]', 'config = {"rate": 10.0, "seed": 1}'),
        ("lr=rate", "def build(model, rate=10.0):"),
    ],
)
def test_a_rate_is_changed_where_it_is_set(tmp_path: Path, given: str, line: str) -> None:
    """A name, an option, an entry or a default: the one literal that reaches the optimizer."""
    suite = f"{line}\n    pass\n" if line.endswith(":") else f"{line}\n"
    source = f"import torch\n{suite}optimizer = torch.optim.SGD(model.parameters(), {given})\nother = 10.0\n"
    run = run_of(tmp_path, source, optimizers={"optimizer": source.count("\n") - 1}, groups={"lr": 10.0})

    patch = patch_for(run, accuse("optimizer.lr_too_high", source.count("\n") - 1))

    assert patch is not None
    assert patch.kind == "config"
    assert changes(source, patch.files["train.py"]) == {f"-{line}", f"+{line.replace('10.0', '1')}"}


def test_a_rate_that_comes_from_elsewhere_is_scaled_where_it_is_used(tmp_path: Path) -> None:
    """A number that stands in no file of the program is changed at the optimizer."""
    source = "import sys, torch\nopt = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))\n"
    run = run_of(tmp_path, source, optimizers={"opt": 2}, groups={"lr": 10.0})

    patch = patch_for(run, accuse("optimizer.lr_too_high", 2))

    assert patch is not None
    assert "lr=float(sys.argv[1]) * 0.1)" in patch.files["train.py"]


def test_no_choice_is_made_by_luck(tmp_path: Path) -> None:
    """Two places that could be meant, none of them accused: neither is touched, and the optimizer itself is changed."""
    source = "import torch\na = dict(lr=0.5)\nb = dict(lr=0.5)\nopt = torch.optim.SGD(model.parameters(), **a)\n"
    run = run_of(tmp_path, source, optimizers={"opt": 4}, groups={"lr": 0.5})
    hypothesis = accuse("optimizer.lr_too_high")

    fix = propose(run, hypothesis)

    added = [
        line for line in (fix.diff or "").splitlines() if line.startswith(("+", "-")) and line[:3] not in {"+++", "---"}
    ]
    assert added == ["+for group in opt.param_groups:", '+    group["lr"] *= 0.1']


def test_what_no_optimizer_shows_is_not_changed(tmp_path: Path) -> None:
    """Without a place for the change: no patch, but the cause's advice."""
    run = run_of(
        tmp_path, "import torch\na = dict(lr=0.5)\nb = dict(lr=0.5)\n", optimizers={"opt": 4}, groups={"lr": 0.5}
    )

    fix = propose(run, accuse("optimizer.lr_too_high"))

    assert (fix.kind, fix.diff) == ("none", None)
    assert fix.summary == CAUSES["optimizer.lr_too_high"].repair


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    """A file with Windows line ends keeps them when a repair is written, and has a backup."""
    text = dedent(LOOP).format("loss.backward()\n        optimizer.step()").replace("\n", "\r\n")
    run = run_of(tmp_path, text, optimizers={"optimizer": 4})
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_bytes(text.encode())
    patch = patch_for(run, accuse("loop.missing_zero_grad", 8))
    assert patch is not None

    apply(run, patch.files, project)

    written = (project / "train.py").read_bytes()
    assert written.count(b"\r\n") == written.count(b"\n") == text.count("\n") + 1
    assert (project / "train.py.before-aitia").read_bytes() == text.encode()


def test_a_file_that_changed_since_the_run_is_not_written(tmp_path: Path) -> None:
    """The repair was made for another text."""
    text = dedent(LOOP).format("loss.backward()\n        optimizer.step()")
    run = run_of(tmp_path, text, optimizers={"optimizer": 4})
    (tmp_path / "train.py").write_text(text + "# new\n", encoding="utf-8")
    patch = patch_for(run, accuse("loop.missing_zero_grad", 8))
    assert patch is not None

    with pytest.raises(FileChangedError, match="has changed since run"):
        apply(run, patch.files, tmp_path)
    assert (tmp_path / "train.py").read_text("utf-8").endswith("# new\n")
    assert not (tmp_path / "train.py.before-aitia").exists()


@pytest.mark.parametrize("cause", sorted(REPAIRS))
def test_a_repair_that_finds_nothing_says_so(tmp_path: Path, cause: str) -> None:
    """On a program without anything to repair, no repair invents a change or fails."""
    run = run_of(tmp_path, "print('hello')\n")

    assert patch_for(run, accuse(cause, 1)) is None


def test_a_repair_that_fails_leaves_the_others_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that nobody thought of ends one repair, not the answer."""
    cause = "data.label_misaligned"
    source = "x, y = load(return_X_y=True)\norder = torch.randperm(len(x))\nx = x[order]\nfit(x, y)\n"
    monkeypatch.setitem(REPAIRS, cause, lambda accused: accused.nothing)

    assert patch_for(run_of(tmp_path, source), accuse(cause, 3)) is not None
