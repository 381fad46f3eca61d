"""Crashes by type and padding in losses: found by what was measured, however it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programs import accuse, run_of
from repeated import TABLES
from spelled import PADDED, PADDINGS

from aitia.agent.fix import patches_for
from aitia.engine.records import Failure, LayerInfo


@pytest.mark.parametrize("name", PADDINGS)
def test_the_measured_id_is_ignored_by_a_name_in_reach(tmp_path: Path, name: str) -> None:
    """Functions that pad, names of other scopes and other numbers are no padding id."""
    source, old, new = PADDINGS[name]
    run = run_of(tmp_path, source, facts=(("loss_call", 1, PADDED, None),))

    found = [p.files["train.py"] for p in patches_for(run, accuse("loss.padding_counted"))]

    assert found == [source.replace(old, new)]


def _failure(message: str, line: int, **more: object) -> Failure:
    place = f'Traceback (most recent call last):\n  File "/home/train.py", line {line}, in <module>\n{message}'
    return Failure(type="RuntimeError", message=message, traceback=place, file="train.py", line=line, **more)  # type: ignore[arg-type]  # fields by name


LONG = "expected target dtype to be Long or Byte, but got Float"
BOTH = "mat1 and mat2 must have the same dtype, but got Double and Float"
MODEL = (
    "class M(nn.Module):\n    def forward(self, x):\n        return self.body(x.flatten(1))\nnet = M()\nout = net(x)\n"
)
WEIGHT = {"weight": "float32[4, 8]"}
TYPES = {
    "classes": ("loss = criterion(out, y)\n", _failure(LONG, 1, phase="loss"), "out, y", "out, y.long()"),
    "an alias": (
        "from torch.nn.functional import binary_cross_entropy as bce\nloss = bce(out, y)\n",
        _failure("result type Float can't be cast to the desired output type Long", 2, phase="loss"),
        "out, y", "out, y.float()",
    ),
    "a target by keyword": (
        "loss = criterion(target=y, input=out)\n", _failure(LONG, 1, phase="loss"), "target=y", "target=y.long()",
    ),
    "found in backward": (
        "loss = F.mse_loss(out, y)\nloss.backward()\n", _failure("Found dtype Double but expected Float", 2),
        "out, y", "out, y.float()",
    ),
    "a layer within": (
        MODEL, _failure(BOTH, 3, phase="forward", module="body.0", module_class="Linear", parameters=WEIGHT),
        "self.body(x.flatten(1))", "self.body(x.flatten(1).float())",
    ),
    "a layer in half precision": (
        MODEL,
        _failure(BOTH, 3, phase="forward", module="body", module_class="Linear", parameters={"w": "bfloat16[4]"}),
        "self.body(x.flatten(1))", "self.body(x.flatten(1).bfloat16())",
    ),
    "rows of a table": (
        MODEL, _failure("scalar types: Long, Int", 3, phase="forward", module="body", module_class="Embedding"),
        "self.body(x.flatten(1))", "self.body(x.flatten(1).long())",
    ),
    "a product": (
        "z = a @ b\n", _failure("expected m1 and m2 to have the same dtype", 1), "a @ b", "a.float() @ b.float()",
    ),
    "an average": (
        "m = hits.mean()\n", _failure("mean(): could not infer output dtype", 1), "hits.mean", "hits.float().mean",
    ),
    "an index": (
        "z = table[ids]\n", _failure("tensors used as indices must be long, int, byte or bool tensors", 1),
        "[ids]", "[ids.long()]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_the_value_of_the_wrong_type_is_cast_where_it_is_handed_on(tmp_path: Path, name: str) -> None:
    """The innermost place in the program, and the type that is wanted there."""
    source, failure, old, new = TYPES[name]

    found = [
        p.files["train.py"] for p in patches_for(run_of(tmp_path, source, failure=failure), accuse("dtype.mismatch"))
    ]

    assert found[0] == source.replace(old, new)


def test_targets_that_were_never_shifted_are_shifted_once(tmp_path: Path) -> None:
    """In the data, where both are cut from one stream, or at the loss."""
    source = "x = s[i : i + n]\ny = s[i : i + n]\nloss = F.cross_entropy(net(x).flatten(0, 1), y.flatten())\n"
    same = {"match_by_offset": {"0": 1.0, "1": 0.2}}
    run = run_of(tmp_path, source, facts=(("alignment", 1, same, None),))

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.label_shift_error", 3))]

    assert found[0] == source.replace("y = s[i : i + n]", "y = s[i + 1 : i + n + 1]")
    assert found[1] == source.replace("net(x).", "net(x)[:, :-1].").replace("y.flatten", "y[:, 1:].flatten")


@pytest.mark.parametrize("name", TABLES)
def test_the_table_that_failed_gets_the_rows_it_is_asked_for(tmp_path: Path, name: str) -> None:
    """Which one it is stands in the failure; its size is one that the program knows, or one more."""
    source, failure, old, new = TABLES[name]
    run = run_of(tmp_path, source, failure=Failure(**failure))  # type: ignore[arg-type]  # fields by name

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.index_out_of_range"))]

    assert found[0] == source.replace(old, new)


def test_nothing_is_evaluated_on_training_data(tmp_path: Path) -> None:
    """What tells the parts apart stays, random changes of training samples stay with them."""
    source = "train_set = D(x[:9], augment=True, transform=RandomFlip())\ntest_set = D(x[9:], augment=False)\n"

    assert patches_for(run_of(tmp_path, source), accuse("eval.preprocessing_mismatch", 2)) == []


def test_predictions_come_back_in_the_units_of_the_targets(tmp_path: Path) -> None:
    """With and without a block that says so; a forward whose output goes into the loss stays as it is."""
    source = (
        "def fit():\n    for x, y in loader:\n        out = net(x)\n        loss = F.mse_loss(out, y)\n"
        "        loss.backward()\ndef predict(x):\n    return net(x)\nwith torch.no_grad():\n    print(net(a))\n"
    )
    run, n = run_of(tmp_path, source), np.ones(4)
    rows = {"loss": {"grad": n, "target_mean": 300 * n, "target_std": 40 * n}}
    run.table = rows.__getitem__  # type: ignore[method-assign, assignment]  # as the recorder would fill it

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.unscaled_target", 4))]

    expected = source.replace("(out, y)", "(out, (y - 300) / 40)").replace(
        "return net(x)", "return (net(x) * 40 + 300)"
    )
    assert found[0] == expected.replace("net(a)", "(net(a) * 40 + 300)")


def test_a_model_that_is_made_on_the_spot_is_followed(tmp_path: Path) -> None:
    """Known by its class alone: what makes it is no forward, and what it is handed on to calls it."""
    source = (
        "class Prices(nn.Module):\n    pass\ndef fit(regressor, x, y):\n    loss = F.mse_loss(regressor(x), y)\n"
        "    loss.backward()\ndef predict(regressor, x):\n    return regressor(x)\nfit(Prices(3), x, y)\n"
    )
    run, n = run_of(tmp_path, source), np.ones(4)
    rows = {"loss": {"grad": n, "target_mean": 300 * n, "target_std": 40 * n}}
    run.table = rows.__getitem__  # type: ignore[method-assign, assignment]  # as the recorder would fill it
    run.__dict__["layers"] = [LayerInfo(index=0, name="Prices", cls="Prices", kind="container", root="Prices")]

    found = [p.files["train.py"] for p in patches_for(run, accuse("data.unscaled_target", 4))]

    expected = source.replace("(regressor(x), y)", "(regressor(x), (y - 300) / 40)")
    assert found[0] == expected.replace("return regressor(x)", "return (regressor(x) * 40 + 300)")


def test_groups_that_repeat_a_rate_change_with_it(tmp_path: Path) -> None:
    """A rate of its own in each group beats the optimizer's."""
    source = "import torch\nopt = torch.optim.SGD([{'params': a, 'lr': 1e-7}, {'params': b}], lr=1e-7)\n"
    run = run_of(tmp_path, source, optimizers={"opt": 2}, groups={"lr": 1e-7})

    found = [p.files["train.py"] for p in patches_for(run, accuse("optimizer.lr_too_low", 2))]

    assert found[:2] == [source.replace("1e-7", "1e-06"), source.replace("1e-7", "3e-06")]


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("loss = F.cross_entropy(net(x), tags)\n", "cross_entropy", "binary_cross_entropy_with_logits"),
        ("f = nn.CrossEntropyLoss()\nloss = f(net(x), tags)\n", "CrossEntropyLoss", "BCEWithLogitsLoss"),
    ],
)
def test_labels_that_can_be_true_at_once_are_decided_one_by_one(
    tmp_path: Path, source: str, old: str, new: str
) -> None:
    """Where targets have the shape of the logits; where they are class ids, the softmax stays."""
    for target, expected in (([8, 5], [source.replace(old, new)]), ([8], [])):
        facts = {"function": "cross_entropy", "input_shape": [8, 5], "target_shape": target, "n_classes": 5}
        run = run_of(tmp_path / str(len(target)), source, facts=(("loss_call", 1, facts, None),))

        assert [p.files["train.py"] for p in patches_for(run, accuse("loss.wrong_for_task", 1))] == expected


@pytest.mark.parametrize(
    ("cause", "source", "old", "new"),
    [
        (
            "init.symmetric",
            "a = nn.Parameter(torch.full((64, n), 0.1))\nb = nn.Parameter(torch.ones(n, 10) * 0.1)\n"
            "c = nn.Parameter(torch.zeros(10))\n",
            ("torch.full((64, n), 0.1)", "torch.ones(n, 10) * 0.1"),
            ("torch.randn(64, n) / (64) ** 0.5", "torch.randn(n, 10) / (n) ** 0.5"),
        ),
        ("model.output_activation_range", "net = nn.Sequential(*layers)\n", ("*layers",), ("*layers[:-1]",)),
    ],
)
def test_parameters_and_lists_of_layers_are_repaired_where_they_are_made(
    tmp_path: Path, cause: str, source: str, old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    """Biases stay zero; the last layer of a list goes."""
    expected = source
    for a, b in zip(old, new, strict=True):
        expected = expected.replace(a, b)

    assert expected in [p.files["train.py"] for p in patches_for(run_of(tmp_path, source), accuse(cause))]


SHARED = {"function": "binary_cross_entropy", "input_by": "SoftmaxBackward0", "input_shape": [4, 3]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nn.Softmax(dim=-1)", "nn.Sigmoid()"),
        ("F.softmax(out, dim=1)", "F.sigmoid(out)"),
        ("torch.softmax(input=out, dim=1)", "torch.sigmoid(out)"),
        ("out.softmax(-1)", "out.sigmoid()"),
    ],
)
def test_each_label_gets_a_probability_of_its_own(tmp_path: Path, old: str, new: str) -> None:
    """However the softmax is written; where a sigmoid is given already, nothing is changed."""
    source = f"p = {old}\nloss = F.binary_cross_entropy(p, y)\n"
    accused = accuse("loss.wrong_for_task", 2)

    found = patches_for(run_of(tmp_path / "a", source, facts=(("loss_call", 1, SHARED, None),)), accused)
    other = {**SHARED, "input_by": "SigmoidBackward0"}

    assert [p.files["train.py"] for p in found] == [source.replace(old, new)]
    assert patches_for(run_of(tmp_path / "b", source, facts=(("loss_call", 1, other, None),)), accused) == []
