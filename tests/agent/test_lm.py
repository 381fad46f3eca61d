"""Making a model: keys only from the named provider, local servers under /v1, deadlines, secrets stay here."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from programs import run_of
from runs import write_run
from talk import GOOD

from aitia.agent import lm
from aitia.agent.diagnosis import answer, prompt, repair_prompt
from aitia.agent.errors import ConfigurationError, LanguageModelError
from aitia.agent.judge import consult
from aitia.agent.program import DIAGNOSE, REPAIR, TEST, Program, Verdict
from aitia.agent.prompt import BUDGET_TOKENS, CHARACTERS_PER_TOKEN, inputs
from aitia.agent.redact import redact
from aitia.agent.replay_lm import TALKS, recording, replay, scripted
from aitia.demo import DEMOS
from aitia.engine.records import Diagnosis
from aitia.engine.store.reader import Run

pytest.importorskip("dspy")


def test_a_key_comes_only_from_the_named_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of another provider in the environment is not used, and not sent to another host."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv(lm.OWN_KEY, raising=False)

    assert lm.key_for("openai", None) == "sk-openai"
    assert lm.key_for("openai", "http://elsewhere/v1") == "none"
    assert lm.key_for("ollama", None) == "none"
    with pytest.raises(ConfigurationError, match="set ANTHROPIC_API_KEY"):
        lm.key_for("anthropic", None)


@pytest.mark.parametrize(
    ("provider", "given", "base"),
    [
        ("ollama", None, "http://localhost:11434/v1"),
        ("ollama", "http://box:11434", "http://box:11434/v1"),
        ("ollama", "http://box:11434/v1/", "http://box:11434/v1"),
        ("openai", "http://gate/api", "http://gate/api"),
        ("openai", "http://gate:8000", "http://gate:8000/v1"),
        ("anthropic", "https://gate/", "https://gate/v1"),
        ("openai", None, None),
    ],
)
def test_local_servers_are_addressed_under_v1(provider: str, given: str | None, base: str | None) -> None:
    """Ollama serves the OpenAI protocol under /v1 and nothing above it."""
    assert lm.base_for(provider, given) == base


def test_what_is_no_address_is_refused() -> None:
    """A missing scheme is told before anything is sent."""
    with pytest.raises(ConfigurationError, match="expects an address like"):
        lm.base_for("openai", "localhost:8000")


@pytest.mark.parametrize("name", ["gpt-4.1", "", "openai/"])
def test_a_model_without_a_provider_is_refused(name: str) -> None:
    """The error shows how to write it."""
    with pytest.raises(ConfigurationError, match="names no provider"):
        lm.make_lm(name)


def test_work_that_does_not_end_is_left_behind() -> None:
    """The deadline holds, whatever the server does."""
    started = time.monotonic()

    with pytest.raises(TimeoutError, match="did not answer within"):
        lm.within(0.05, lambda: time.sleep(1))
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrstuvwx", "ghp_0123456789abcdefghij0123", "hf_abcdefghijklmnopqrstuv",
        "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abcdef", "api_key = 'hunter2secret'",
        '"password": "correct horse"', "https://user:pa55word@host/x", "Bearer abcdefghijklmnop", "someone@example.org",
        "/home/somebody/train.py", "WANDB_SECRET='0123456789'",
    ],
)  # fmt: skip
def test_secrets_are_taken_out(secret: str) -> None:
    """Keys of common shapes, passwords, addresses and the home folder's name."""
    shown = redact(f"before {secret} after", {"X": "y"})

    assert secret not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_ordinary_code_is_left_alone() -> None:
    """Redaction that eats the script would cost the answer."""
    code = "token = batch['tokens']\nloss = loss_fn(model(x), y)\nkey, value = q.chunk(2)\nlr = 1e-3  # sk-learn\n"

    assert redact(code, {}) == code


def test_the_prompt_stays_within_its_budget(tmp_path: Path, diagnosis: Diagnosis) -> None:
    """A long script is cut to the neighbourhood of the accused lines."""
    long = "\n".join(f"x{n} = {n}  # {'.' * 60}" for n in range(5000))

    shown = inputs(run_of(tmp_path, long), diagnosis, diagnosis.evidence, "why " * 10_000)

    assert sum(len(v) for v in shown.values()) <= BUDGET_TOKENS * CHARACTERS_PER_TOKEN
    assert "   6 x5 = 5" in shown["training_script"]
    assert "x4000" not in shown["training_script"]


def test_a_prompt_file_that_drifted_is_refused(tmp_path: Path) -> None:
    """Instructions made for other fields would be read with the wrong meaning; new wording is no drift."""
    path = tmp_path / "default.json"
    DIAGNOSE.save(path, "Weigh.\nCite.", [], {})
    reworded = {name: (kind, text + "!") for name, (kind, text) in DIAGNOSE.inputs.items()}

    assert replace(DIAGNOSE, inputs=reworded).load(path)["instructions"] == ["Weigh.", "Cite."]
    drifted = replace(DIAGNOSE, inputs={**DIAGNOSE.inputs, "mood": (str, "how the user feels")})
    with pytest.raises(ConfigurationError, match="made for other fields"):
        drifted.load(path)


@pytest.mark.parametrize("made", [DIAGNOSE, REPAIR, TEST], ids=lambda p: p.name)
def test_the_shipped_prompts_fit_the_present_fields(made: Program) -> None:
    """What is in the package loads."""
    assert made.load(made.file())["instructions"]


def test_a_family_has_its_own_prompt(tmp_path: Path) -> None:
    """The longest matching file name wins; everything else gets the default."""
    program = replace(DIAGNOSE, folder=tmp_path)
    for name in ("default", "qwen", "qwen3"):
        program.save(tmp_path / "diagnose" / f"{name}.json", name, [], {})

    assert program.file("ollama/qwen3:8b").stem == "qwen3"
    assert program.file("ollama/qwen2.5").stem == "qwen"
    assert program.file("openai/gpt-4.1").stem == "default"


def test_a_recorded_conversation_can_be_replayed(run: Run, diagnosis: Diagnosis, tmp_path: Path) -> None:
    """The same questions get the same answers; a changed question is noticed."""
    path = tmp_path / "talk.jsonl"
    first = consult(run, diagnosis, recording(scripted(GOOD), path))
    again = consult(run, diagnosis, replay(path))

    assert first.diagnosis.summary == again.diagnosis.summary == GOOD["reply"]
    with pytest.raises(LanguageModelError, match="asks something else than was recorded"):
        consult(run, diagnosis, replay(path), words="another question")


def test_the_package_holds_a_conversation_for_every_demo() -> None:
    """`aitia demo --model replay` needs no network; each says that no model wrote it, and each answer can be read."""
    for demo in DEMOS:
        made = replay(f"demo-{demo.name}")
        about = json.loads((TALKS / f"demo-{demo.name}.jsonl").read_text("utf-8").splitlines()[0])["about"]

        assert "no language model said this" in about
        assert made.model == f"replay/demo-{demo.name}"
        for turn in made.engine.turns:
            told = json.loads(turn["response"])
            assert Verdict.model_validate(told["verdicts"][0]).hypothesis_id == "H1"
    with pytest.raises(ConfigurationError, match=r"Those of the package: demo-crash, .*demo-nan"):
        replay("demo-nowhere")


def test_a_talk_can_be_kept_and_asked_again(run: Run, tmp_path: Path) -> None:
    """What a model said is kept with what it was asked; the replay answers the same, without the model."""
    source, kept = tmp_path / "source.jsonl", tmp_path / "kept.jsonl"
    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}
    said = {"verdicts": [verdict], "reply": "Build it last [E1].", "measurements_wanted": []}
    source.write_text(json.dumps({"response": json.dumps(said)}) + "\n", encoding="utf-8")

    first = answer(run, model=f"replay/{source}", talk=kept)
    again = answer(run, model=f"replay/{kept}")

    assert first.summary == again.summary == "Build it last [E1]."
    [turn] = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    assert [role for role, _ in turn["request"]] == ["system", "user"]


def test_a_replayed_model_can_be_named_like_any_other(run: Run, tmp_path: Path) -> None:
    """`--model replay/FILE` needs no network; the answer addresses the user's question."""
    path = tmp_path / "talk.jsonl"
    reply = "The head is not trained [E1]: build the optimizer last."
    verdict = {"hypothesis_id": "H1", "evidence_ids": ["E1"], "explanation": "No optimizer holds fc2 [E1]."}
    text = json.dumps({"verdicts": [verdict], "reply": reply, "measurements_wanted": []})
    path.write_text(json.dumps({"response": text}) + "\n", encoding="utf-8")

    found = answer(run, model=f"replay/{path}", words="why does my head not learn?", require_llm=True)

    assert (found.mode, found.summary) == ("llm", reply)
    assert found.hypotheses[0].fix is not None


def test_required_means_required(run: Run, tmp_path: Path) -> None:
    """With require_llm a useless model is an error instead of a fallback."""
    path = tmp_path / "talk.jsonl"
    path.write_text('{"response": "no idea"}\n' * 4, encoding="utf-8")

    assert answer(run, model=f"replay/{path}").mode == "rules_fallback"
    with pytest.raises(LanguageModelError):
        answer(run, model=f"replay/{path}", require_llm=True)
    with pytest.raises(LanguageModelError, match="needs a model"):
        answer(run, require_llm=True)


def test_what_would_be_sent_for_a_change_can_be_read_first(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script as it is, with cause and evidence; or why nothing would be sent."""
    assert repair_prompt(run).startswith("For optimizer.stale_param_reference there is a codemod")
    monkeypatch.setattr("aitia.agent.fix.patches_for", lambda *_: [])
    text = repair_prompt(run)

    assert "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)" in text
    assert "optimizer.stale_param_reference in fc2" in text
    assert repair_prompt(write_run(tmp_path, "healthy")) == "No cause is accused, so no change would be asked for."


def test_code_reaches_the_model_as_it_stands(tmp_path: Path, diagnosis: Diagnosis) -> None:
    """An index before a call is no link, and a tab is no control character to be taken out."""
    code = "x = layers[0](x)\n\ty = [f](x)\n"

    shown = inputs(run_of(tmp_path, code), diagnosis, diagnosis.evidence, None)["training_script"]

    assert "x = layers[0](x)" in shown
    assert "\ty = [f](x)" in shown


def test_what_would_be_sent_can_be_read_first(run: Run) -> None:
    """The prompt shows evidence, hypotheses, script and the user's words."""
    text = prompt(run, words="why flat?")

    for part in ("why flat?", "[E1] gradient_debugger:", "H1 optimizer.stale_param_reference", "torch.optim.SGD"):
        assert part in text
