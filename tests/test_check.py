"""The checks that need no torch: each mistake is refused with the sentence that mends it."""

import json
import shutil
import subprocess
import sys

import hydra
import pytest
import yaml
from beartype.door import is_bearable
from omegaconf import OmegaConf

from jobs import ROOT
from lmlab import check, ranges
from lmlab.check.argv import command_line
from lmlab.check.outline import outline
from lmlab.check.pairs import refuse_pair
from lmlab.check.secret import looks_secret
from lmlab.check.signatures import signature
from lmlab.check.values import NAMED
from lmlab.check.yaml_files import locate
from lmlab.errors import ConfigError, InputMissing


def compose(*overrides):
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


@pytest.fixture(scope="session")
def default():
    return compose()


def refusal(cfg, *dotlist):
    """What `composed` says against the default config with these values."""
    changed = cfg.copy()
    for item in dotlist:
        key, _, value = item.partition("=")
        OmegaConf.update(changed, key, yaml.safe_load(value) if value else "", force_add=True)
    with pytest.raises(ConfigError) as caught:
        check.composed(changed, dotlist)
    return str(caught.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["model=transfomer"], "no model is called 'transfomer' (command line). Did you mean transformer?"),
        (["trainer=gpu,cpuu"], "no trainer is called 'cpuu' (command line). Did you mean cpu?"),
        (["model="], "model= names no option"),
        (["data=rte"], "no data is called 'rte' (command line). Did you mean glue/rte?"),
        (["data=base/glue"], "no data is called 'base/glue' (command line)"),
        (["glue/cola"], "'glue/cola' is not an override (command line). Did you mean data=glue/cola?"),
        (["task=classification", "task.class_weights=0"], "task.class_weights: a list of number > 0 or balanced"),
        (["transformer"], "'transformer' is not an override (command line). Did you mean model=transformer?"),
        (["data", "=", "imdb"], "Write key=value, without spaces"),
        (["model.network.d_modle=3"], "Did you mean model.network.d_model (whole number >= 1, default 128)?"),
        (["modle=transformer"], "Did you mean model?"),
        (["trainer.fast_dev_run=true"], "write +trainer.fast_dev_run=true"),
        (["seed=1", "seed=2"], "as '1' and as '2' (command line). Remove seed=1 or seed=2"),
        (["model.network.d_model=-4"], "model.network.d_model: whole number >= 1 expected, got -4"),
        (["trainer.max_epochs="], "trainer.max_epochs: whole number >= 0 or -1 or null expected, got nothing"),
        (["trainer.max_steps=1e3"], "trainer.max_steps: whole number >= 1 or -1 expected, got 1000.0"),
        (["trainer.precision=bf17"], "Did you mean bf16?"),
        (["optimizer.prior_std=0"], "optimizer.prior_std: number > 0 or null expected, got 0"),
        (["optimizer.prior_sdt=1"], "Did you mean optimizer.prior_std (number > 0 or null, default None)?"),
        (["callbacks.ema.decay=1"], "callbacks.ema.decay: number from 0 to below 1 or null expected, got 1"),
        (["callbacks.ema.deacy=0.9"], "Did you mean callbacks.ema.decay (number from 0 to below 1 or null"),
        (["trainer.compile=maybe"], "trainer.compile: true or false expected, got 'maybe'"),
        (["trainer.compille=true"], "Did you mean trainer.compile (true or false, default False)?"),
        (["trainer.launcher=mpi"], "trainer.launcher: one of torchrun, slurm or null expected, got 'mpi'"),
        (["optimizer.lr=nan"], "optimizer.lr: number > 0 expected, got nan"),
        (["-m", "optimizer.lr=0.1,-1"], "optimizer.lr: number > 0 expected, got -1"),
        (
            ["trainer.max_time=5"],
            "trainer.max_time: days:hours:minutes:seconds such as 00:00:10:00 or null expected, got 5",
        ),
        (["data.encoding=utf-99"], "data.encoding: encoding (utf-8, latin-1, utf-16, ...) expected, got 'utf-99'"),
        (["model.network.positions=rotory"], "Did you mean rotary?"),
        (["wandb.api_key=abc"], "Set it in the environment: WANDB_API_KEY"),
    ],
)
def test_a_command_line_is_refused_before_composing(typed, said):
    with pytest.raises(ConfigError) as caught:
        command_line(typed)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        ["model=transformer", "data=imdb", "trainer=ddp"],
        ["-m", "model.network.d_model=64,128", "seed=1,2"],
        ["trainer.max_epochs=null", "trainer.devices=-1", "trainer.val_check_interval=0.5"],
        ["tokenizer.vocab_size=${data.max_length}", "data.classes=[no,yes]", "data.path='a b.csv'"],
        ["+trainer.fast_dev_run=true", "~logger.wandb", "hydra.sweep.dir=x", "--cfg", "job"],
        ["data.batch_tokens=512", "model.network.token_dropout=0.1", "++seed=3"],
    ],
)
def test_a_good_command_line_passes_as_it_is(typed):
    assert sorted(command_line(typed).argv) == sorted(typed)


@pytest.mark.parametrize(
    ("typed", "task"),
    [
        (["model=bert_tiny", "data=wikitext2"], ["task=masked_lm"]),
        (["model=roberta", "data=wikitext2", "seed=3"], ["task=masked_lm"]),
        (["model=bert_tiny", "data=wikitext2", "task=causal_lm"], []),
        (["model=bert_tiny", "data=imdb"], []),
        (["model=gpt2", "data=wikitext2"], []),
        (["-m", "model=bert,gpt2", "data=wikitext2"], []),  # each job of it picks its own
    ],
)
def test_on_raw_text_a_family_picks_the_task_that_its_yaml_names(typed, task):
    assert command_line(typed).inherited == task


def test_shorthands_are_written_out():
    command = command_line(["debug=true"])
    assert command.argv == ["debug=default"] and command.debug
    assert not command_line(["debug=false"]).debug


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["seed=-1"], "seed: whole number from 0 to 4294967295 expected, got -1 (command line)"),
        (["data.max_length=1.5"], "data.max_length: whole number >= 1 expected, got 1.5 (command line)"),
        (["model.network.d_model=65"], "65 is not divisible by 2"),
        (
            ["data.cleaning.lowercase=true"],
            "data.cleaning.lowercase: a part with a _target_ or null expected, got True",
        ),
        (["optimizer.betas=[0.9]"], "optimizer.betas: a list of 2 of number from 0 to below 1 expected, got [0.9]"),
        (["optimizer.betas=[0.9,2]"], "optimizer.betas[1]: number from 0 to below 1 expected, got 2"),
        (["seed=4294967296"], "seed: whole number from 0 to 4294967295 expected"),
        (["optimizer.prior_std=-1"], "optimizer.prior_std: number > 0 or null expected, got -1"),
        (
            ["optimizer.prior_std=1"],
            "optimizer.prior_std and optimizer.weight_decay=0.01 both pull weights to zero (command line)",
        ),
        (["optimizer.lr=.inf"], "optimizer.lr: number > 0 expected, got inf"),
        (["data.classes=[a,true]"], "data.classes[1]: text expected, got True (command line). YAML reads no, 010"),
        (["model.network.d_modle=3"], "unknown key model.network.d_modle (command line). Did you mean d_model (whole"),
        (["modle.network=3"], "unknown key modle (command line). Did you mean model?"),
        (["run.idd=a"], "Did you mean id?"),
        (["run.id=../a"], "run.id: a name expected"),
        (["run.output="], "run.output: a folder expected, got nothing"),
        (["run.folder=x"], "stage=fit begins a new run"),
        (["average=5"], "average=5 takes the weights of a finished run, and stage=fit begins one (command line)"),
        (["average=0"], "average: whole number >= 1 or null expected, got 0 (command line)"),
        (["stage._target_=lmlab.stages.test.test"], "stage=test works on a finished run"),
        (
            ["callbacks.checkpont.monitor=x"],
            "callbacks.checkpont has no _target_ (command line). Did you mean check",
        ),
        (["logger.wandb.hf_token=x"], "looks like a secret"),
        (["data._target_=os.system"], "a config may not call 'os.system'"),
        (["tokenizer.path=???"], "tokenizer.path must be given"),
        (["tokenizer.path=${nope}"], "tokenizer.path: Interpolation key 'nope' not found"),
    ],
)
def test_a_composed_config_is_refused(default, values, said):
    assert said in refusal(default, *values)


def test_the_default_config_passes(default):
    before = OmegaConf.to_container(default)
    check.composed(default)
    assert OmegaConf.to_container(default) == before


def test_pairs_that_cannot_be_name_those_that_can():
    config = outline({})
    config["task"] = config["task"] | {"needs": ["text", "target"]}
    with pytest.raises(ConfigError, match="and Imdb has text, label alone .*fit this corpus: .*classification"):
        refuse_pair(config)
    config = outline({"model": "ngram", "data": "glue/stsb"})
    with pytest.raises(ConfigError, match="Regression reads a vector from states, .*fit this task: (?!.*ngram).*lstm"):
        refuse_pair(config)
    config = outline({"data": "glue/stsb", "task": "classification"})
    with pytest.raises(ConfigError, match="needs label, and STSB has text, score.*fit this task: .*glue/rte"):
        refuse_pair(config)
    config = outline({"model": "lstm", "task": "causal_lm"})
    config["data"] = config["data"] | {"separate_documents": True}
    with pytest.raises(ConfigError, match="reads on from text to text .*gpt2, "):
        refuse_pair(config)
    config = outline({})
    config["task"] = config["task"] | {"architecture": "decoder"}
    config["model"] = config["model"] | {"architectures": ["encoder"]}
    with pytest.raises(ConfigError, match="needs architecture decoder.*Models that fit this task: "):
        refuse_pair(config)


@pytest.mark.parametrize("group", ["model", "data", "tokenizer", "task", "trainer"])
def test_an_outline_has_the_keys_that_hydra_composes(default, group):
    def names(node):
        return {key: names(value) for key, value in node.items()} if isinstance(node, dict) else None

    assert names(outline({})[group]) == names(OmegaConf.to_container(default)[group])


@pytest.mark.parametrize(
    ("target", "may"),
    [
        ("lmlab.tokenizer.Tokenizer", True),
        ("lightning.pytorch.Trainer", True),
        ("lightning.pytorch.callbacks.ModelCheckpoint", True),
        ("torch.optim.AdamW", True),
        ("torch.optim.lr_scheduler.LambdaLR", True),
        ("os.system", False),
        ("builtins.open", False),
        ("torch.load", False),
        ("pandas.read_pickle", False),
        ("hydra.utils.get_method", False),
        ("lmlab.experiment.os.system", False),
        ("lmlab.experiment.torch.load", False),
        ("lmlab.run_directory.subprocess.run", False),
        ("lightning.pytorch.callbacks.model_checkpoint.os.remove", False),
        ("lmlab.nothing", False),
        ("lmlab", False),
    ],
)
def test_only_listed_code_may_be_called(target, may):
    assert check.allowed(target) is may


def test_signatures_follow_reexports_and_bases():
    assert "max_epochs" in signature("lightning.pytorch.Trainer").annotations
    assert "lr" in signature("torch.optim.AdamW").annotations
    assert "classes" in signature("lmlab.data.imdb.Imdb").annotations


def test_ranges_are_those_of_the_constructors():
    named = {name for name in vars(ranges) if name[0].isupper() and name not in ("Annotated", "Is")}
    assert named <= NAMED.keys()
    for name in named:
        for value in (-1, 0, 1, 2, 2**32, -0.5, 0.0, 0.5, 1.0, 1.5, "a", None):
            assert NAMED[name][1](value) == is_bearable(value, getattr(ranges, name)), (name, value)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("api_key", True),
        ("logger.wandb.apiKey", True),
        ("hf_token", True),
        ("password", True),
        ("tokenizer", False),
        ("data.batch_tokens", False),
        ("model.network.token_dropout", False),
        ("tokenizer.mask_token", False),
        ("monkey", False),
    ],
)
def test_what_looks_like_a_secret(key, secret):
    assert looks_secret(key, "x") is secret
    assert looks_secret("note", "0123456789" * 4)


@pytest.fixture
def finished(tmp_path):
    """A run folder as a training run leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    typed = ("seed=7", "data.max_length=77", "trainer.max_steps=500", f"run.folder={folder}")
    cfg = compose("data=rotten_tomatoes", *typed)
    config = OmegaConf.to_container(cfg, resolve=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    choices = {"model": "transformer", "data": "rotten_tomatoes", "stage": "fit", "gone": "x", "experiment": None}
    (folder / "manifest.json").write_text(json.dumps({"choices": choices}))
    return folder


def test_a_finished_run_brings_its_choices(finished):
    command = command_line(["stage=test", f"run={finished}", "model=transformer"])
    assert command.inherited == ["data=rotten_tomatoes"]
    assert command.argv == ["data=rotten_tomatoes", "stage=test", f"run.folder={finished}", "model=transformer"]


def test_a_later_stage_changes_what_is_typed_and_nothing_else(finished):
    typed = ["stage=test", f"run.folder={finished}", "data.max_length=100", "trainer=cpu", "~logger.wandb"]
    ours = check.read_config(finished)
    final = check.rebase(compose("data=rotten_tomatoes", *typed), ours, typed)
    assert final.stage._target_ == "lmlab.stages.test.test" and final.run.folder == str(finished)
    assert final.data.max_length == 100 and final.trainer.accelerator == "cpu" and "wandb" not in final.logger
    assert final.seed == 7 and final.model == ours["model"] and final.data._target_ == ours["data"]["_target_"]
    check.composed(final, typed, {}, str(finished))


def test_a_resumed_run_refuses_what_its_checkpoints_do_not_survive(finished):
    def resumed(*typed):
        return check.resumed(compose("data=rotten_tomatoes", f"resume={finished}", *typed), typed, {})

    final = resumed("trainer=ddp", "trainer.max_epochs=9", "data.n_workers=2")
    assert final.resume == str(finished) and final.trainer.max_epochs == 9 and final.data.max_length == 77
    assert final.trainer.strategy == "ddp" and final.trainer.max_steps == 500  # trainer= is a machine, not a length
    with pytest.raises(ConfigError, match=r"\(data.max_length: 77 then, 78 now; seed: 7 then, 8 now\)"):
        resumed("seed=8", "data.max_length=78")
    with pytest.raises(ConfigError, match=r"data.max_length: 77 then, 78 now\) .*allow_change=\[data.max_length\]"):
        resumed("data.max_length=78", "allow_change=[seed]")
    with pytest.raises(ConfigError, match=r"callbacks.ema.decay: None then, 0.9 now"):
        resumed("callbacks.ema.decay=0.9")
    assert resumed("seed=8", "data.max_length=78", "allow_change=[seed,data]").seed == 8
    with pytest.raises(ConfigError, match=r"Write allow_change=\[seed\]"):
        resumed("allow_change=seed")


def test_auto_finds_the_newest_unfinished_run_of_the_same_config(finished):
    output = finished.parent / "outputs"
    for name, status in (("1", "preempted"), ("2", "failed"), ("3", "finished")):
        shutil.copytree(finished, output / "transformer-rotten_tomatoes" / name)
        manifest = output / "transformer-rotten_tomatoes" / name / "manifest.json"
        manifest.write_text(json.dumps({"status": status}))
    typed = ["data=rotten_tomatoes", f"run.output={output}", "resume=auto"]
    choices = {"model": "transformer", "data": "rotten_tomatoes"}

    def found(*changes):
        return check.resumed(compose(*typed, *changes), [*typed, *changes], choices).resume

    same = ("seed=7", "data.max_length=77", "trainer.max_steps=500")
    assert found(*same, "trainer=ddp") == str(output / "transformer-rotten_tomatoes" / "2")
    assert found(*same, "sweep.name=search", "sweep.job=3") == str(output / "transformer-rotten_tomatoes" / "2")
    assert found(*same, "callbacks.progress=null") and found(*same, "callbacks.ema.decay=0.9") is None
    assert found("seed=7", "data.max_length=76", "trainer.max_steps=500") is None
    assert found(*same, "experiment=glue", "data=rotten_tomatoes") is None  # another config


def test_auto_goes_on_with_an_experiment_and_another_logger_writes_into_its_folder(tmp_path):
    from omegaconf import OmegaConf

    begun = ["experiment=imdb", f"run.output={tmp_path}"]
    folder = tmp_path / "transformer-imdb" / "1"
    folder.mkdir(parents=True)
    cfg = compose(*begun)
    cfg.run.folder = str(folder)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    (folder / "manifest.json").write_text(json.dumps({"status": "preempted"}))
    typed = [*begun, "resume=auto", "logger=csv"]
    choices = {"model": "transformer", "data": "imdb"}
    final = check.resumed(compose(*typed), typed, choices)
    assert final.resume == str(folder) and final.logger.csv.folder == str(folder) and "wandb" not in final.logger
    check.composed(final, typed, choices, str(folder))
    with pytest.raises(ConfigError, match="experiment=imdb rewrites a whole config"):
        check.resumed(compose(*begun, f"resume={folder}"), [*begun, f"resume={folder}"], choices)


def test_what_is_taken_over_refers_to_the_run(finished):
    typed = ["stage=test", "data=imdb"]
    final = check.rebase(compose(*typed), check.read_config(finished), typed)
    assert final.data._target_ == "lmlab.data.imdb.Imdb" and final.data.seed == 7


def test_a_folder_that_is_no_run_is_named(finished):
    for folder in ("nowhere", finished.parent):
        with pytest.raises(InputMissing, match="config.yaml, manifest.json"):
            command_line(["stage=test", f"run={folder}"])
    with pytest.raises(InputMissing, match=f"Did you mean {finished}"):
        command_line(["stage=test", f"run={finished.parent}"])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("model:\n  network:\n    d_modle: 3", "unknown key model.network.d_modle (conf/experiment/mine.yaml:4)."),
        ("modle:\n  network: 3", "unknown key modle (conf/experiment/mine.yaml:2). Did you mean model?"),
        ("data:\n  classes: [no, yes]", "data.classes[0]: text expected, got False (conf/experiment/mine.yaml:3)."),
    ],
)
def test_a_mistake_in_an_experiment_file_is_found_there(written, said, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "conf/experiment").mkdir(exist_ok=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(f"# @package _global_\n{written}\n")
    command = [sys.executable, "src/run.py", "experiment=mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_key_of_a_base_is_found_there_and_not_in_another_experiment():
    assert locate(("tokenizer", "min_frequency"), {"experiment": "shakespeare_best"}).startswith(
        "conf/experiment/shakespeare.yaml:"
    )
    assert locate(("model", "network", "n_layers"), {"model": "gpt2_mini"}).startswith("conf/model/gpt2_mini.yaml:")
    assert locate(("data", "stride"), {"data": "wikitext2"}).startswith("conf/data/base/labelled.yaml:")
