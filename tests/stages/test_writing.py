"""A finished language model goes on with texts, and says how likely it finds them."""

import csv
import json
import math
import os
import pty
import subprocess
import sys

import pytest
import torch

import run as front
from jobs import PLANTED, ROOT, inside, lmlab, only_run, write_reviews
from lmlab.check import METADATA
from lmlab.stages.text_stream import TextStream, overlap
from lmlab.tokenizer import Tokenizer

TINY = [
    *(
        "data=text_files",
        "data.label_column=null",
        "task=causal_lm",
        "data.path=plays.txt",
        "trainer=cpu",
    ),
    *("tokenizer=byte", "data.max_length=16", "data.batch_tokens=64", "data.val_share=0.2", "data.test_share=0.0"),
    "logger=csv",
    *("model.network.d_model=16", "model.network.d_ff=32", "model.network.n_layers=1", "model.network.ngram_rows=50"),
    *("trainer.max_epochs=2", "callbacks.samples.prompts=['',To be]", "callbacks.samples.max_new_tokens=9"),
]
TEXT = "To be, or not to be: that is the question. Où est la mer? 海は広い。\n"
GENERATE = ["stage.max_new_tokens=12", "stage.temperature=0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("written")
    (cwd / "plays.txt").write_text(TEXT * 8, encoding="utf-8")
    done = inside(*TINY, cwd=cwd)
    return cwd, only_run(cwd), done


@pytest.fixture
def here(finished, monkeypatch, capsys):
    """`python src/run.py stage=... run=<that run> ...` in this process; exit code, what it printed, what it said."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(finished[0])
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        code = front.main([*arguments, f"run={finished[1]}"])
        return code, *capsys.readouterr()

    return call


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_samples_are_written_while_it_learns_and_change_nothing(finished, tmp_path):
    cwd, run, done = finished
    first, *others = sorted((run / "samples").iterdir())
    assert first.name.startswith("step-000000") and others
    assert first.read_text().count("-" * 20) == 1 and "\nTo be" in first.read_text()
    inside(*TINY, "callbacks.samples=null", "run.output=without", cwd=cwd)
    (without,) = cwd.glob("without/*/*/metrics.csv")
    losses = [[row["train/loss"] for row in csv.DictReader(path.open())] for path in (without, run / "metrics.csv")]
    assert losses[0] == losses[1] and any(losses[0])
    assert "stage=generate" in done.stdout and "stage=score" in done.stdout and "stage=predict" not in done.stdout


def test_a_prompt_is_continued_and_a_seed_repeats(here):
    code, greedy, _ = here("stage=generate", "stage.prompt=To be, or 'not' to be: (that) = 1?", *GENERATE)
    assert code == 0 and greedy.startswith("To be, or 'not' to be: (that) = 1?")
    drawn = ["stage=generate", "stage.prompt=", "stage.max_new_tokens=30", "stage.temperature=2"]
    assert here(*drawn, "stage.seed=1") == here(*drawn, "stage.seed=1") != here(*drawn, "stage.seed=2")


@pytest.mark.parametrize(
    "prompt", ["it's a\\", "a\\'b, c", '"Yes," he said, "no."', "{seed} \n= [x", "'kept out'", "42"]
)
def test_any_text_is_a_prompt(here, prompt):
    code, said, wrong = here("stage=generate", f"stage.prompt={prompt}", *GENERATE)
    assert code == 0 and said.startswith(prompt.strip("'")), wrong


def test_prompts_of_a_file_are_continued_as_each_alone(here, finished):
    cwd, _, _ = finished
    prompts = ["To be", "that is the question, and more of it", "O"]
    (cwd / "prompts.txt").write_text("\n".join(prompts) + "\n")
    (cwd / "prompts.jsonl").write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts))
    alone = [here("stage=generate", f"stage.prompt={prompt}", *GENERATE)[1] for prompt in prompts]
    for kind in ("txt", "jsonl"):
        code, together, _ = here("stage=generate", f"stage.prompts=prompts.{kind}", *GENERATE)
        assert code == 0 and together.replace("-" * 20 + "\n", "") == "".join(alone)
    here("stage=generate", "stage.prompts=prompts.txt", "stage.output=out.jsonl", "stage.n=2", *GENERATE)
    saved = rows((cwd / "out.jsonl").read_text())
    assert [row["prompt"] + row["text"] + "\n" for row in saved[::2]] == alone
    assert [row["sample"] for row in saved] == [0, 1] * 3


def test_a_pipe_gives_a_prompt_a_line(finished, here):
    cwd, run, _ = finished
    arguments = ["stage=generate", f"run={run}", *GENERATE]
    said = lmlab(*arguments, cwd=cwd, input="To be\nO\n").stdout
    alone = [here("stage=generate", f"stage.prompt={prompt}", *GENERATE)[1] for prompt in ("To be", "O")]
    assert said.replace("-" * 20 + "\n", "") == "".join(alone)


def test_a_person_is_answered_line_by_line(finished, here):
    cwd, run, _ = finished
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "src/run.py"), "stage=generate", f"run={run}", *GENERATE]
    environment = os.environ | PLANTED | {"OMP_NUM_THREADS": "1"}
    os.write(ours, b"To be\nand\n\nTo be\n\x04")
    done = subprocess.run(command, cwd=cwd, stdin=theirs, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    _, alone, _ = here("stage=generate", "stage.prompt=To be", *GENERATE)
    _, goes_on, _ = here("stage=generate", f"stage.prompt={alone.removesuffix(chr(10))}\nand", *GENERATE)
    answer = alone.removeprefix("To be")
    assert done.stdout == "> " + answer + "> " + goes_on.removeprefix(f"{alone}and") + "> > " + answer + "> "


def test_a_stop_string_ends_a_text(here):
    _, whole, _ = here("stage=generate", "stage.prompt=To be", *GENERATE)
    written = whole.removeprefix("To be")
    word = written[4:6]
    _, cut, _ = here("stage=generate", "stage.prompt=To be", f"stage.stop=[{json.dumps(word)}]", *GENERATE)
    assert cut == "To be" + written[: written.index(word)] + "\n"


def test_a_score_is_the_sum_over_all_tokens_whatever_it_stands_beside(here, finished):
    cwd, run, _ = finished
    texts = ["To be", "or not to be, that is the question: 海", "", "a"]
    (cwd / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    code, said, _ = here("stage=score", "stage.input=texts.jsonl")
    together = rows(said)
    assert code == 0 and [row["text"] for row in together] == texts
    assert [row["tokens"] for row in together] == [len(text.encode()) + 1 for text in texts]
    for text, row in zip(texts, together, strict=True):
        (cwd / "one.jsonl").write_text(json.dumps({"text": text}) + "\n")
        (alone,) = rows(here("stage=score", "stage.input=one.jsonl")[1])
        assert row["log_probability"] == pytest.approx(alone["log_probability"], rel=1e-6)
        assert math.log(row["perplexity"]) == pytest.approx(-row["log_probability"] / row["tokens"])
    assert together[2]["bits_per_byte"] is None
    (row,) = [row for row in together if row["text"] == "To be"]
    assert row["bits_per_byte"] == pytest.approx(-row["log_probability"] / math.log(2) / 5)
    assert by_hand(run, "To be") == pytest.approx(row["log_probability"], rel=1e-6)
    assert by_hand(run, texts[1]) == pytest.approx(together[1]["log_probability"], rel=1e-6)
    small = rows(here("stage=score", "stage.input=texts.jsonl", "stage.batch_tokens=1", "stage.batch_rows=1")[1])
    for row, other in zip(together, small, strict=True):
        assert other["log_probability"] == pytest.approx(row["log_probability"], rel=1e-6)
    here("stage=score", "stage.input=texts.jsonl", "stage.output=scores.csv")
    with (cwd / "scores.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts


def by_hand(run, text):
    """The log-probability from logits alone, a token at a time, each in the window that it would be written in."""
    import yaml

    from lmlab.generate import window_start
    from lmlab.models.transformer import Transformer

    config = yaml.safe_load((run / "config.yaml").read_text())["model"]["network"]
    beside = {"_target_", *METADATA["model.network"]}
    network = Transformer(**{key: value for key, value in config.items() if key not in beside}).eval()
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    network.load_state_dict(
        {key.removeprefix("network."): value for key, value in weights.items() if key.startswith("network.")}
    )
    tokenizer = Tokenizer("byte", config["vocab_size"], path=run / "tokenizer.json")
    tokens, total = [3, *tokenizer.encode([text])[0], 3], 0.0
    for length in range(1, len(tokens)):
        window = torch.tensor([tokens[window_start(length, config["max_length"]) : length]])
        total += network.logits(network.decode(window))[0, -1].log_softmax(-1)[tokens[length]].item()
    return total


@pytest.mark.parametrize("kind", ["byte", "char", "word", "bpe", "wordpiece", "unigram"])
def test_a_streamed_text_is_the_whole(kind):
    tokenizer = Tokenizer(kind, 400, min_frequency=1)
    tokenizer.train([TEXT, "don't stop. why not, it's 5 o'clock? 🙂🙂 one two three"] * 20)
    generator = torch.Generator().manual_seed(0)
    for prompt in ("", "To be", "海"):
        ids = tokenizer.encode([prompt])[0]
        drawn = torch.randint(5, len(tokenizer), (60,), generator=generator).tolist()
        for written in (tokenizer.encode([TEXT + "don't stop. 🙂, it's"])[0], drawn):
            stream = TextStream(tokenizer, ids)
            pieces = [*map(stream.push, written), stream.close()]
            assert tokenizer.decode(ids) + "".join(pieces) == tokenizer.decode([*ids, *written])
            assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])


def test_stop_strings_are_found_across_pieces_and_never_half_told():
    tokenizer = Tokenizer("byte", 300)
    tokenizer.train([])
    ids = tokenizer.encode(["one, two\n\nthree"])[0]
    stream = TextStream(tokenizer, [], ["\n\n", "twenty"])
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.close() == "one, two" and stream.ended
    assert pieces[5:9] == ["", "", "two", ""]
    late = TextStream(tokenizer, [], ["\ufffd"])
    assert [late.push(token) for token in tokenizer.encode(["ab海"])[0][:4]] == ["a", "b", "", ""]
    assert late.close() == "" and late.ended
    unmet = TextStream(tokenizer, [], ["three more"])
    assert "".join([*map(unmet.push, ids), unmet.close()]) == "one, two\n\nthree"
    assert [overlap(text, "aab") for text in ("", "a", "aa", "xa", "aab", "ba")] == [0, 1, 2, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stage=predict"], 2, "Stages that fit this task: stage=test, stage=generate, stage=score"),
        (["stage=generate", "stage.temperature=-1"], 2, "stage.temperature: number >= 0 expected, got -1"),
        (["stage=generate", "stage.top_p=1.5"], 2, "stage.top_p: number from 0 to 1 or null expected, got 1.5"),
        (["stage=generate", "stage.stop=x"], 2, "stage.stop: a list of text expected, got 'x'"),
        (["stage=generate", "stage.promt=x"], 2, "Did you mean stage.prompt"),
        (["stage=generate", "stage.prompt=x", "stage.prompts=y.txt"], 2, "Leave one out"),
        (["stage=generate", "stage.prompts=nowhere.txt"], 66, "nowhere.txt"),
        (["stage=generate", "stage.prompt=x", "stage.output=x.md"], 2, ".csv or .jsonl"),
        (["stage=score", "stage.input=nowhere.txt"], 66, "nowhere.txt"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(here, arguments, code, said):
    got, _, line = here(*arguments)
    assert got == code and said in line and line.count("\n") == 1, line


def test_a_classifier_is_neither_continued_nor_asked_for_likelihoods(tmp_path):
    write_reviews(tmp_path / "reviews")
    tiny = ["tokenizer=word", "model.network.d_model=16", "model.network.n_layers=1", "trainer.max_steps=1"]
    inside("data=text_files", "data.path=reviews", "trainer=cpu", "logger=csv", *tiny, cwd=tmp_path)
    run = only_run(tmp_path)
    assert not (run / "samples").exists()
    for stage in ("generate", "score"):
        command = [sys.executable, "-X", "importtime", str(ROOT / "src/run.py"), f"stage={stage}", f"run={run}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 2 and len(told) == 1 and "stage=test, stage=predict" in told[0]
        assert not [line for line in done.stderr.splitlines() if line.endswith("| torch")]
