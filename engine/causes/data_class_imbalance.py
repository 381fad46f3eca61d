"""One class fills the data, and the model learns to say only that.

Source: SO 53358838, 59196793; DeepCrime TUD.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from aitia.engine.case import Case, nanmedian
from aitia.engine.causes.base import MODERATE, STRONG, WEAK, Cause, Weight, against, supports, symptom
from aitia.engine.patterns_setup import decisions
from aitia.engine.store.reader import Array

SKEWED = 0.8
"""Above this share always saying the majority looks like success."""


def weigh(case: Case) -> Iterator[Weight]:
    """Share of the largest class in targets and in predictions."""
    if case.n_classes is not None and case.n_classes < 2:
        return
    sites = case.calls(grad=True)["site"].astype(int).tolist()
    rows = case.calls(grad=True, site=max(set(sites), key=sites.count) if sites else None)
    target, said = rows["target_majority"], rows["majority_share"]
    ok = np.isfinite(target) & np.isfinite(said)
    if ok.sum() < 5:
        return
    share = case.chance if np.isfinite(case.chance) else nanmedian(target[ok])
    late = ok.copy()
    late[: len(late) // 2] = False
    predicted = nanmedian(said[late])
    if share > 0.9999:
        return  # a single class is no imbalance: one of the two terms of a discriminator, a loss on positives alone
    if share < SKEWED or predicted < min(0.995, share + 0.5 * (1 - share)):
        return
    yield supports(
        STRONG,
        f"{100 * share:.0f} % of the targets are one class and the model says that class in {100 * predicted:.0f} % of "
        "its predictions",
        tool="layer_analyzer",
        step=1,
        where=case.site_place(),
        target_share=share,
        predicted_share=predicted,
    )
    binary = all(str(f.data.get("function")).startswith("binary_cross_entropy") for f in case.train_loss_calls)
    if binary and not _decides(case):
        yield against(
            STRONG,
            "the program takes the outputs as probabilities and decides nothing by them: where one class is rare, a right "
            "probability is low for every sample",
        )
    if not any(f.data.get("weight") for f in case.train_loss_calls):
        yield symptom(WEAK, "the loss carries no class weights")
        yield from _nothing_learned(case, rows)
    spread = nanmedian(rows["in_sample_std"][late])
    if spread > 1e-3:
        yield symptom(
            MODERATE,
            f"the outputs still differ between samples (spread {spread:.2g}): the network is alive",
            spread=spread,
        )
    elif np.isfinite(spread):
        yield against(STRONG, "the outputs are the same for every sample: something upstream is dead", spread=spread)


def _decides(case: Case) -> bool:
    """Whether the program turns outputs into classes (argmax, a threshold); True where its source is not known."""
    facts = [f for kind in ("loss_call", "forward_context", "model_seen") for f in case.run.facts(kind)]
    near = {f.file for f in facts if f.file and not f.data.get("final")}
    texts = [text for name, text in case.run.sources.items() if name in near]
    try:
        return not texts or any(True for text in texts for _ in decisions(ast.parse(text)))
    except SyntaxError:
        return True


def _nothing_learned(case: Case, rows: dict[str, Array]) -> Iterator[Weight]:
    """A loss that is not below the entropy of the classes knows their shares alone; who says the majority then is right."""
    counts = case.class_counts(grad=True)
    calls = [
        f for f in case.train_loss_calls if f.data.get("reduction") == "mean" and not f.data.get("label_smoothing")
    ]
    values = rows["value"][np.isfinite(rows["value"])]
    if counts is None and np.isfinite(case.chance) and case.n_classes in (None, 2):
        counts = np.asarray([case.chance, 1 - case.chance])
    if counts is None or len(calls) != len(case.train_loss_calls) or len(values) < 10:
        return
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    last = nanmedian(values[-max(3, len(values) // 10) :])
    if last > entropy:
        yield against(
            STRONG,
            f"the loss ({last:.3g}) is not below the entropy of the classes ({entropy:.3g}): nothing beyond their shares has been "
            "learned, and the majority is the best answer to that",
            loss=last,
            entropy=entropy,
        )


CAUSE = Cause(
    id="data.class_imbalance",
    title="One class dominates the data and the model predicts nothing else",
    phase="data",
    repair="Weight the classes or sample them evenly, and judge by recall per class.",
    weigh=weigh,
    mistaken_for={"model.dead_units": "there outputs are the same for every input"},
    explains=("eval.metric_bug",),
    intervention="weight the classes",
    next_measurement="recall per class",
    source="SO 53358838",
)
