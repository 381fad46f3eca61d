"""The user's own suspicion ("is my learning rate too high?"), found in their words and answered from the diagnosis."""

from __future__ import annotations

import re
from typing import Final

from aitia.engine.causes.custom import catalogue
from aitia.engine.records import Diagnosis

HIGH, LOW = r"(?:too|very|so) (?:high|large|big)", r"(?:too|very|so) (?:low|small|slow)"
RATE = r"(?:learning[ -]?rate|lr|step size)"
PHRASES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for pattern, cause in (
        (rf"\b{RATE}\b.{{0,30}}\b{HIGH}|\b{HIGH}.{{0,20}}\b{RATE}\b", "optimizer.lr_too_high"),
        (rf"\b{RATE}\b.{{0,30}}\b{LOW}|\b{LOW}.{{0,20}}\b{RATE}\b", "optimizer.lr_too_low"),
        (r"\boverfit\w*|\bmemori[sz]\w*", "eval.overfit"),
        (r"\bzero_grad\b|\b(?:clear|zero)\w*\b.{0,20}\bgradients?\b", "loop.missing_zero_grad"),
        (r"\bvanish\w*", "numerics.vanishing_gradient"),
        (r"\bexplod\w*", "numerics.exploding_gradient"),
        (r"\bdead\b.{0,20}\b(?:relu|units?|neurons?)|\bdying relu", "model.dead_units"),
        (r"\bsaturat\w*", "model.saturated_units"),
        (r"\bshuffl\w*", "data.order_not_shuffled"),
        (r"\b(?:wrong|noisy|bad|swapped) labels?\b|\blabel noise\b", "data.label_noise"),
        (r"\bimbalanc\w*", "data.class_imbalance"),
        (r"\bweight decay\b", "optimizer.weight_decay_excess"),
        (r"\beval\(\)|\beval mode\b|\bmodel\.eval\b", "eval.mode_not_eval"),
        (r"\bfrozen\b|\bfreez\w*", "optimizer.frozen_by_mistake"),
        (r"\bsoftmax\b", "loss.double_softmax"),
        (r"\b(?:scale|normali[sz])\w*\b.{0,20}\b(?:inputs?|data|features?|images?)\b", "data.unscaled_input"),
        (r"\b(?:inputs?|data|features?|images?)\b.{0,25}\b(?:scale|normali[sz])\w*", "data.unscaled_input"),
        (r"\bsame batch\b", "data.repeated_batch"),
        (r"\binitiali[sz]\w*", "init.wrong_scale"),
        (r"\b(?:data ?loader|loading)\b.{0,20}\b(?:slow|bottleneck)\b", "resource.loader_bound"),
        (r"\bmemory leak\b|\bleaks? memory\b", "resource.graph_retained_by_history"),
        (r"\bcausal mask\b|\bsees? the future\b", "model.causal_leak"),
    )
)
"""What users say when they suspect a cause; an id of the catalogue is understood, too."""
MAX_ANSWERED = 2
"""Suspicions that an answer addresses; a list of ten is no suspicion."""


def suspected(words: str | None) -> tuple[str, ...]:
    """Causes that the words name, in the order of the catalogue of phrases."""
    text = words or ""
    named = [cause for cause in catalogue() if cause in text]
    meant = [cause for pattern, cause in PHRASES if pattern.search(text)]
    return tuple(dict.fromkeys([*named, *meant]))


def addressed(diagnosis: Diagnosis, words: str | None) -> list[str]:
    """A sentence for each suspicion: found, a link of another cause's chain, or not accused and why."""
    return [_one(diagnosis, cause) for cause in suspected(words)[:MAX_ANSWERED]]


def _one(diagnosis: Diagnosis, cause: str) -> str:
    begin = f"You suspect {cause}:"
    for place, hypothesis in enumerate(diagnosis.hypotheses):
        if hypothesis.cause == cause:
            rank = "that is the first cause found" if place == 0 else "that is possible, but comes after the first"
            return f"{begin} {rank} ({hypothesis.confidence:.0%} sure)."
    for hypothesis in diagnosis.hypotheses:
        known = catalogue().get(hypothesis.cause)
        if known is None:
            continue
        if cause in known.explains:
            return f"{begin} where it shows, {hypothesis.cause} explains it, so it is a symptom here and not the cause."
        if cause in known.mistaken_for:
            return f"{begin} it is not accused; {known.mistaken_for[cause]}."
    return f"{begin} the measurements do not accuse it."
