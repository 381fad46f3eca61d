"""`aitia optimize`: fit the prompt to the language model you use, and keep it only if it helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aitia.commands.options import ApiBase, AsJson

if TYPE_CHECKING:
    from aitia.agent.optimize import Estimate, LabelledCase

DEFAULT_BUDGET = 120
"""Answers of the model: enough for a dozen changes of the prompt on the programs of `dev`."""


def optimize(
    names: Annotated[list[str] | None, typer.Argument(metavar="[PROGRAM]...", help="Only these programs.")] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model the prompt is for.")] = "",
    api_base: ApiBase = None,
    reflection_model: Annotated[
        str | None,
        typer.Option("--reflection-model", metavar="NAME", help="The model that writes prompts (default: the same)."),
    ] = None,
    reflection_api_base: Annotated[
        str | None, typer.Option("--reflection-api-base", metavar="URL", help="Address of its endpoint.")
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", min=10, help="Answers of the model to spend, at most.")
    ] = DEFAULT_BUDGET,
    prices: Annotated[
        str | None,
        typer.Option("--prices", metavar="IN,OUT", help="Price per million tokens, to estimate the cost in money."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the search.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Recordings at the same time.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The prompt file (default: the one that this model will use)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compile the prompt for a model on recorded faults; write it only if held-back cases are answered better."""
    from aitia.commands.screen import console, say_json
    from aitia.engine.store.errors import AitiaError

    if not model:
        raise AitiaError("name the model that the prompt is for, e.g. --model ollama/qwen3:8b.")
    per_token = _prices(prices)
    from aitia.agent.lm import make_lm
    from aitia.agent.optimize import estimate
    from aitia.agent.optimize import optimize as compile_prompt
    from aitia.agent.program import DIAGNOSE, family

    lm = make_lm(model, api_base)
    same = reflection_model is None
    reflection = lm if same else make_lm(str(reflection_model), reflection_api_base)
    DIAGNOSE.load(DIAGNOSE.file(model))  # a drifted file is refused before anything is recorded
    cases = _cases(names or [], jobs, quiet=as_json)
    cost = estimate(cases, budget)
    if not as_json:
        console().print(_told(cases, cost, per_token))
    if not yes and (as_json or not typer.confirm("Go on?", default=False)):
        raise AitiaError("nothing was asked of the model; --yes goes on without asking.")
    target = out or DIAGNOSE.folders()[0] / f"{family(model)}.json"
    report = compile_prompt(cases, lm, reflection, target, budget=budget, seed=seed)
    if as_json:
        say_json({"estimate": cost, "cases": len(cases), **report.model_dump(mode="json")})
    else:
        scores = f"held-back cases ({report.n_held_back}): {report.before:.2f} before, {report.after:.2f} after"
        console().print(f"{scores}; the rules alone: {report.rules:.2f}")
        console().print(f"written: {report.written}" if report.written else "not better, so nothing was written")
    if report.written is None:
        raise typer.Exit(1)


def _cases(names: list[str], jobs: int, *, quiet: bool) -> list[LabelledCase]:
    from aitia.engine.store.errors import AitiaError
    from aitia.evals.labelled import labelled
    from aitia.evals.zoo import ZooError

    try:
        return labelled(names, jobs=jobs, quiet=quiet)
    except ZooError as error:
        raise AitiaError(str(error)) from None


def _prices(text: str | None) -> tuple[float, float] | None:
    from aitia.engine.store.errors import AitiaError

    if text is None:
        return None
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise AitiaError(f"--prices expects two numbers like 0.15,0.60, found {text!r}.") from None
    return first, second


def _told(cases: list[LabelledCase], cost: Estimate, prices: tuple[float, float] | None) -> str:
    """What it will cost at most, in words."""
    none = sum(not c.right for c in cases)
    money = f", {cost.cost(*prices):.2f} in the currency of --prices" if prices else ""
    return (
        f"{len(cases)} cases, in {none} of them no hypothesis is right. At most {cost.calls} answers and "
        f"{cost.reflections} reflections: {cost.input_tokens:,} tokens in, {cost.output_tokens:,} out{money}."
    )
