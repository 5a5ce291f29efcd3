"""Every command of the README runs: the same words, with a tiny corpus and model added where it would take minutes."""

import contextlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import run as front
from jobs import ROOT, TINY, only_run, write_reviews

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
SLOW = re.compile(
    "prove_resume|prove_stop|bench_classification|bench_language|bench_generate| -m "
)  # several processes each, whose parts have their own tests
COMMANDS = [pytest.param(line, marks=[pytest.mark.slow] if SLOW.search(line) else []) for line in LINES]
SMALL = ["data.path=reviews", "trainer.limit_train_batches=2", "data.max_length=40"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tiny reviews in it and one finished run on them."""
    cwd = tmp_path_factory.mktemp("readme")
    write_reviews(cwd / "reviews")
    shutil.copy(cwd / "reviews" / "test.csv", cwd / "reviews.csv")
    (cwd / "input.txt").write_text("a film that is one of many\n" * 200)
    for label in ("neg", "pos"):
        (cwd / "aclImdb" / "test" / label).mkdir(parents=True)
        (cwd / "aclImdb" / "test" / label / "0_1.txt").write_text(f"a {label} film")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["src/run.py"])
        assert front.main(["model=transformer", "data=imdb", "trainer=cpu", "run.id=first", *TINY, *SMALL]) == 0
    return cwd, only_run(cwd)


def fitting(arguments: list[str]) -> list[str]:
    """The changes of TINY that all families which a command names have keys for."""
    asked = [word for word in arguments if word != "-m" and not word.startswith("resume=") and "," not in word]
    families = next((word for word in arguments if word.startswith("model=") and "," in word), "model=transformer")
    chosen = [f"model={name}" for name in families.partition("=")[2].split(",")] if "-m" in arguments else []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        plain = [compose("config", [*asked, *model]) for model in ([[name] for name in chosen] or [[]])]
    keys = {word: word.partition("=")[0] for word in TINY}
    return [word for word, key in keys.items() if all(OmegaConf.select(one, key) is not None for one in plain)]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore")
def test_a_command_of_the_readme(command, place, monkeypatch, capsys):
    cwd, run = place
    words = command.replace("outputs/transformer-imdb/<run id>", str(run)).split()
    if words[0] == "make":
        plan = subprocess.run(["make", "-n", "-C", ROOT, words[1]], capture_output=True, text=True, check=True).stdout
        assert ".venv/bin/python" in plan
        return
    monkeypatch.chdir(cwd)
    program, arguments = words[1], words[2:]
    if program == "src/run.py":
        if not any(word.startswith(("run=", "resume=outputs", "resume=/", "--")) for word in arguments):
            typed = [word.partition("=")[0] for word in arguments]
            changes = [word for word in fitting(arguments) if word.partition("=")[0] not in typed]
            changes += [word for word in SMALL if word.partition("=")[0] not in typed]
            if "bbc_news" in command:
                write_reviews(
                    cwd / "reviews_of_topics", classes=("business", "entertainment", "politics", "sports", "tech")
                )
                changes[changes.index("data.path=reviews")] = "data.path=reviews_of_topics"
            arguments = [*arguments, *changes]
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        assert front.main(arguments) == 0, capsys.readouterr().err
        return
    small = {
        "scripts/bench_classification.py": [*TINY, *SMALL, "--rounds", "1", "--steps", "2", "--warmup", "1"],
        "scripts/bench_saving.py": [*TINY, *SMALL, "--saves", "1"],
        "scripts/bench_language_model.py": ["--rounds", "1", "--steps", "2", "--warmup", "1", "data.batch_tokens=512"],
        "scripts/bench_generate.py": ["--rounds", "1", "--new", "2", "--layers", "1"],
        "scripts/baseline_tfidf.py": ["data.path=reviews"],
        "scripts/prove_resume.py": ["--kills", "2", "--scenario", "plain"],
        "scripts/prove_stop.py": ["--times", "1"],
    }
    monkeypatch.setattr(sys, "argv", [program, *arguments, *small[program]])
    with contextlib.suppress(SystemExit) if "prove" in program else contextlib.nullcontext():
        runpy.run_path(str(ROOT / program), run_name="__main__")
    told = capsys.readouterr().out
    assert "prove" not in program or " 0 differences" in told or " 0 faults" in told


def test_every_option_is_in_the_table():
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    for group in ("model", "data", "task", "tokenizer", "optimizer", "scheduler", "trainer", "logger", "stage"):
        for option in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{option.stem}`" in table, f"{group}={option.stem}"
