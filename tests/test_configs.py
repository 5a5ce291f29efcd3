"""Every YAML under conf composes into a config that the checks accept, and each `_target_` takes its keys."""

import re

import hydra
import pytest
from omegaconf import OmegaConf

from lmlab import check
from lmlab.check.signatures import signature
from lmlab.check.yaml_files import content, groups, line_of, yaml_files
from lmlab.errors import ConfigError

OPTIONS = [(group, option) for group, options in groups().items() for option in options]


def compose(*overrides):
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


def targets(node):
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda name: name)
def test_every_option_composes(group, option):
    overrides = [f"{'+' if '/' in group else ''}{group}={option}"]
    if group == "stage" and option not in ("fit", "check"):
        overrides.append("run.folder=outputs")
    cfg = compose(*overrides)
    assert cfg.task._target_
    try:
        check.composed(cfg, overrides)
    except ConfigError as error:
        assert "fit this" in str(error)  # a family that the default corpus does not suit


@pytest.mark.parametrize("corpus", groups()["data"])
def test_every_corpus_picks_a_task_that_it_can_feed(corpus):
    cfg = compose(f"data={corpus}")
    assert set(cfg.task.get("needs", [])) <= set(cfg.data.provides)
    assert cfg.task.architecture


@pytest.mark.parametrize(
    ("corpus", "monitor"),
    [("imdb", "accuracy"), ("glue/cola", "matthews"), ("glue/mrpc", "binary_f1"), ("glue/stsb", "spearman")],
)
def test_a_corpus_says_what_it_is_judged_by(corpus, monitor):
    assert compose(f"data={corpus}").callbacks.checkpoint.monitor == f"val/{monitor}"
    chosen = compose(f"data={corpus}", "task.metrics=[f1]").task.monitor
    assert chosen == "val/f1"
    assert compose(f"data={corpus}", "task=causal_lm").task.monitor == "val/bits_per_byte"


def test_every_file_is_an_option_or_the_root():
    assert len(yaml_files()) == len(OPTIONS) + 1


def test_every_target_has_a_readable_signature():
    named = {target for file in yaml_files() for target in targets(content(file))}
    assert "lightning.pytorch.Trainer" in named
    assert [target for target in sorted(named) if not check.allowed(target) or signature(target) is None] == []


def test_the_keys_that_help_names_exist():
    cfg = compose()
    page = check.help_text().partition("examples:")[0].partition("keys people change:")[2]
    keys = re.findall(r"([a-z_.]+)=", page)
    assert len(keys) > 10
    for key in set(keys) - {"debug"}:
        parent, _, leaf = key.rpartition(".")
        assert leaf in (cfg if not parent else OmegaConf.select(cfg, parent)), key


def test_a_key_is_found_on_its_line():
    file = check.CONF / "config.yaml"
    line = line_of(("run", "output"), file)
    assert file.read_text().splitlines()[line - 1].strip().startswith("output:")
