"""One copy of the model is evaluated, and another one is saved.

Healthy twins: both copies in one file; a teacher or a target network that is neither evaluated nor saved.
Source: cosmix-uda#21; lucidrains/DALLE2-pytorch#131.
"""

from __future__ import annotations

from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, Cause, Weight, supports
from aitia.engine.store.reader import Array


def weigh(case: Case) -> Iterator[Weight]:
    """Models whose tensors were saved against those that ran in evaluation mode, among copies of one class and size."""
    rows = case.run.table("batch")
    seen = {int(f.data.get("index", -1)): f.data for f in case.run.facts("model_seen")}
    saves = case.run.facts("save")
    saved = {str(name) for f in saves for name in f.data.get("roots") or [f.data.get("root")] if name}
    if not saves:
        return
    before = (rows["grad"] == 0) & (rows["time"] < saves[-1].time)  # what is loaded from the file comes later
    asked = rows["root"][before].astype(int).tolist()
    trained = set(rows["root"][rows["grad"] == 1].astype(int).tolist())
    evaluated = {i for i in set(asked) if i in seen and not _teaches(case, rows, i)}
    names = {str(seen[i].get("name")) for i in evaluated}
    if not saved or not names or names & saved:
        return
    for i in sorted(evaluated - trained):
        twin = next(
            (d for j, d in seen.items() if j in trained and _same(d, seen[i]) and str(d.get("name")) in saved), None
        )
        if twin is None:
            continue
        last = saves[-1]
        yield supports(
            DECISIVE,
            f"{asked.count(i)} evaluation forwards went through {seen[i].get('name')}, and {len(saves)} files hold the weights of "
            f"{twin.get('name')}, which was never evaluated: the figures are those of another copy",
            tool="memory_tracker",
            subject=str(twin.get("name")),
            step=max(1, last.step),
            where=case.place(last),
            evaluations=asked.count(i),
            files=len(saves),
        )
        return


def _teaches(case: Case, rows: dict[str, Array], index: int) -> bool:
    """Asked at most steps: a teacher or a target network takes part in the training, nobody evaluates it."""
    steps = set(rows["step"][(rows["grad"] == 0) & (rows["root"] == index)].tolist())
    return len(steps) > 0.5 * max(case.n_steps, 2)


def _same(a: dict[str, object], b: dict[str, object]) -> bool:
    """Of one size, the one as bare as the other or inside a wrapper."""
    plain = all(a.get(key) == b.get(key) for key in ("cls", "n_layers"))
    wrapped = abs(int(str(a.get("n_layers") or 0)) - int(str(b.get("n_layers") or 0))) == 1
    return a.get("n_parameters") == b.get("n_parameters") and (plain or wrapped)


CAUSE = Cause(
    id="artifact.ema_or_wrong_copy_saved",
    title="Another copy of the model is saved than the one that was evaluated",
    phase="save",
    repair="Save the copy whose figures are reported (the average), or both.",
    weigh=weigh,
    mistaken_for={"artifact.best_state_aliased": "there the right model is kept, without a copy"},
    intervention="evaluate what was saved",
    next_measurement="evaluation of the file's weights",
    source="lucidrains/DALLE2-pytorch#131",
)
