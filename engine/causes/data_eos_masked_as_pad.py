"""The end-of-sequence token is masked along with the padding, so the model never learns to stop.

Healthy twin: padding with an id of its own; there the last counted target of every sequence is the end token.
Source: huggingface/course#33; huggingface/trl#456; deepseek-ai/DeepSeek-Coder#163; pytorch/torchtune#949.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aitia.engine.case import Case
from aitia.engine.causes.base import STRONG, WEAK, Cause, Weight, supports, symptom
from aitia.engine.records import Fact

EVERY = 0.95
"""Even the longest sequence of a batch ends in an ignored target when its own end token is ignored, and the counted
targets of a language model are its inputs one place later."""
BATCHES = 3
AN_END = re.compile(
    r"(?i)(?<![a-z])(eos|eot)(?![a-z])|end_?of_?(seq|sent|text|turn|line)|end_?tok|stop_?(id|tok)|<(/s|end|stop)>"
)
"""How programs name the token that ends a sequence."""
VARIED = 0.6
"""Below this share no single token ends the counted part of the sequences."""


def weigh(case: Case) -> Iterator[Weight]:
    """Next-token training on sequences with ignored ends: which token the last counted target is, which the first ignored."""
    for fact in case.run.facts("alignment"):
        stop = fact.data.get("stop_token")
        shifted = float((fact.data.get("match_by_offset") or {}).get("1") or 0)
        if (
            fact.data.get("best") != 1
            or shifted < EVERY
            or not isinstance(stop, int)
            or fact.data.get("stop_is_target") is not False
        ):
            continue
        ended, last, same = (float(fact.data.get(k) or 0) for k in ("ended_share", "last_target_share", "stop_share"))
        if ended < EVERY or same < EVERY or (last > VARIED and not _always_one(fact)) or not _has_an_end(case, fact):
            continue
        yield supports(
            STRONG,
            f"in {100 * ended:.0f} % of the sequences the targets are ignored from the first token {stop} on, which is a target "
            f"nowhere, "
            + (
                f"and what is counted before it ends in many tokens (the most frequent in {100 * last:.0f} %)"
                if last <= VARIED
                else "and in batches of any length even the longest sequence ends in exactly one of them"
            )
            + ": no end of a sequence is ever learned",
            tool="layer_analyzer",
            step=max(1, fact.step),
            where=case.place(fact),
            token=stop,
            ended_share=ended,
            last_target_share=last,
        )
        if case.learned:
            yield symptom(WEAK, f"the loss falls all the same, to {case.loss.last:.3g}", loss=case.loss.last)
        return


def _has_an_end(case: Case, fact: Fact) -> bool:
    """Whether the program knows of an end token at all: padding behind sequences that have none looks the same."""
    files = {f.file for f in (fact, *case.run.facts("loader")) if f.file}
    texts = [text for name, text in case.run.sources.items() if name in files] or list(case.run.sources.values())
    return any(AN_END.search(text) for text in texts)


def _always_one(fact: Fact) -> bool:
    """Batches of several lengths, and in each the longest sequence ends in exactly one ignored target: its own end."""
    ends = [pair for pair in fact.data.get("ends") or [] if isinstance(pair, list) and len(pair) == 2]
    return len(ends) >= BATCHES and len({width for width, _ in ends}) > 1 and all(least == 1 for _, least in ends)


CAUSE = Cause(
    id="data.eos_masked_as_pad",
    title="The end-of-sequence token is masked as if it were padding, so the model never learns to stop",
    phase="data",
    repair="Give padding an id of its own, or mask by sequence length (attention mask) and not by the id.",
    weigh=weigh,
    mistaken_for={
        "data.targets_mostly_masked": "there most targets are ignored, not the ends alone",
        "loss.ignore_index_hits_real_class": "there ids inside the sequences are ignored",
    },
    explains=("data.targets_mostly_masked",),
    intervention="count the first ignored target of each sequence",
    next_measurement="probability of the end token at the ends of sequences",
    source="huggingface/trl#456",
)
