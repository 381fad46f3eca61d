"""Patterns that follow a value find the line where it is made, in programs of any skeleton."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from aitia.engine.patterns import Finder
from aitia.engine.patterns_flow import (
    class_weights,
    cuts,
    guards,
    ignored_labels,
    lengths,
    logged,
    repeated,
    sample_reads,
    stoppers,
    target_makers,
)
from aitia.engine.patterns_more import cut_to_length, own_generators, rearranged_entries, weight_files
from aitia.engine.syntax import made_from

CASES: list[tuple[Finder, str, list[int]]] = [
    (
        stoppers,
        """
        halt = Halt(tolerance=0.5)
        while True:
            train()
            if halt.reached(score):
                break
        """,
        [1, 4],
    ),
    (
        stoppers,
        """
        class Halt:
            def __init__(self, wait=0):
                self.wait = wait
        halt = Halt()
        for _ in range(9):
            if halt(score):
                break
        """,
        [2, 6],
    ),
    (
        stoppers,
        """
        limit = 2
        for _ in range(9):
            if stale >= limit:
                break
        """,
        [1, 3],
    ),
    (
        lengths,
        """
        ROUNDS = 2
        def one_pass(net):
            for x in data:
                net(x).backward()
        for _ in range(ROUNDS):
            one_pass(net)
        """,
        [1],
    ),
    (
        repeated("register_hook"),
        """
        def listen(net):
            net.fc.register_hook(print)
        for x in data:
            listen(net)
        """,
        [4],
    ),
    (
        class_weights,
        """
        def balance(y):
            n = count(y)
            return n / n.sum()
        loss = BCEWithLogitsLoss(pos_weight=balance(y))
        """,
        [3, 4],
    ),
    (
        class_weights,
        """
        rare = torch.tensor([0.1, 0.9])
        F.cross_entropy(net(x), y, weight=rare)
        """,
        [1, 2],
    ),
    (
        guards("all_reduce"),
        """
        for p in net.parameters():
            if p.ndim == 2:
                dist.all_reduce(p.grad)
        """,
        [2, 3],
    ),
    (
        cuts,
        """
        LONGEST = 12
        rows = [r[:LONGEST] for r in rows]
        """,
        [1],
    ),
    (
        ignored_labels,
        """
        SKIP = -100
        y = [row.get("tag", SKIP) for row in rows]
        F.cross_entropy(a, b, ignore_index=SKIP)
        """,
        [2],
    ),
    (
        logged,
        """
        print("begin")
        for x in data:
            total += 1
            print(f"mean {total / 3}")
        """,
        [4],
    ),
    (
        sample_reads,
        """
        class Rows(Dataset):
            def __getitem__(self, i):
                "One."
                row = self.rows[i]
                return parse(row)
        """,
        [4, 5],
    ),
    (
        target_makers,
        """
        kinds = np.array(table["kind"])
        kinds[kinds == 3] = 2
        truth = torch.tensor(kinds)
        nn.functional.cross_entropy(net(x), truth)
        """,
        [2, 1, 3],
    ),
    (
        cut_to_length,
        """
        x = x[ok]
        y = y[: len(x)]
        z = z[:5]
        """,
        [2],
    ),
    (
        own_generators,
        """
        class Noisy(Dataset):
            def __init__(self):
                self.draw = np.random.RandomState(0)
            def __getitem__(self, i):
                return self.x[i] + self.draw.normal()
        """,
        [5, 3],
    ),
    (
        rearranged_entries,
        """
        state["a"] = old["a"]
        state["b"] = old["b"].T
        state[f"{n}.c"] = torch.stack([q, k])
        """,
        [2, 3],
    ),
    (
        weight_files,
        """
        torch.save(net.state_dict(), "first.pt")
        other = Path("out") / "second.pt"
        """,
        [2],
    ),
]


@pytest.mark.parametrize(("finder", "source", "lines"), CASES)
def test_the_line_that_made_the_value_is_found(finder: Finder, source: str, lines: list[int]) -> None:
    """Names are followed to where they get their value; nothing else in the program is pointed at."""
    found = list(dict.fromkeys(finder(ast.parse(dedent(source).lstrip("\n")))))

    assert found == lines


STORED = """class Lookup(Module):
    def __init__(self, size):
        self.table = Embedding(size, 4)
    def forward(self, ids):
        wide = ids + 1
        return self.table(wide)
net = Lookup(9)
"""


@pytest.mark.parametrize(("held_first", "lines"), [(True, [3, 7]), (False, [5, 3])])
def test_what_a_failing_line_uses_is_found_where_it_was_made(held_first: bool, lines: list[int]) -> None:
    """A table that is too small is a matter of who built it, a shape that does not fit one of what is passed on."""
    assert made_from(ast.parse(STORED), 6, held_first=held_first) == lines
