"""Which corpus, task, family and stage go together, by their YAML: provides, needs, architecture(s), answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from lmlab.check.outline import option
from lmlab.check.yaml_files import groups
from lmlab.errors import ConfigError


def refuse_pair(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a corpus that lacks what the task needs, or a family that cannot be built for it."""
    data, task, model = (config.get(group) or {} for group in ("data", "task", "model"))
    if not task:
        raise ConfigError("no task is chosen", "task", f"Add task=, one of {listed(groups().get('task', []))}")
    needs, provides = task.get("needs") or [], data.get("provides")
    if provides is not None and (missing := [item for item in needs if item not in provides]):
        raise ConfigError(
            f"{called(task)} needs {listed(missing)}, and {called(data)} has {listed(provides)} alone",
            "data and task",
            f"Corpora that fit this task: {listed(corpora_with(needs))}. "
            f"Tasks that fit this corpus: {listed(tasks_for(provides))}",
        )
    shape, shapes = task.get("architecture"), model.get("architectures")
    if shape is not None and shapes is not None and shape not in shapes:
        raise ConfigError(
            f"{called(task)} needs architecture {shape}, and {called(model.get('network', model))} builds "
            f"{listed(shapes)} alone",
            "model and task",
            f"Models that fit this task: {listed(families_with(shape))}. "
            f"Tasks that fit this model: {listed(tasks_with(shapes))}",
        )
    if model.get("head") == "none" and {"score", "document", "answer"} & {*needs}:
        raise ConfigError(
            f"{called(task)} reads a vector from states, and those of {called(model.get('network', model))} are the "
            "log-probabilities of classes",
            "model and task",
            f"Models that fit this task: {listed(families_with(str(shape), headed=True))}",
        )
    if data.get("separate_vocabularies") and not (model.get("network") or {}).get("separate_embeddings"):
        able = [
            name for name in groups()["model"] if "separate_embeddings" in (metadata("model", name, "network") or {})
        ]
        what = f"{called(model.get('network', model))} has one table of embeddings, and two vocabularies need two"
        fix = f"Set it to false, or use model=, one of {listed(able)}, with its model.network.separate_embeddings"
        raise ConfigError(what, "data.separate_vocabularies", fix)
    if data.get("separate_documents") and not model.get("separates_documents"):
        able = [name for name in groups()["model"] if metadata("model", name, "separates_documents")]
        fix = f"Set it to false, or use model=, one of {listed(able)}"
        raise ConfigError(f"{called(model)} reads on from text to text", "data.separate_documents", fix)


def refuse_stage(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a stage that asks what the run's task has no answer to."""
    stage, task = str((config.get("stage") or {}).get("_target_")).rpartition(".")[2], config["task"]
    answers = {metadata("task", name, "_target_"): metadata("task", name, "answers") for name in groups()["task"]}
    own = answers.get(task.get("_target_"))
    if own is not None and stage not in own and any(stage in stages for stages in answers.values() if stages):
        raise ConfigError(
            f"stage={stage} asks what a {called(task)} run does not answer",
            "stage and task",
            f"Stages that fit this task: {listed(f'stage={name}' for name in ('test', *own))}",
        )


def refuse_export(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for stage=export of a family that no other program reads, or in a format that it has not."""
    stage, network = config.get("stage") or {}, config["model"].get("network") or {}
    if not str(stage.get("_target_")).endswith(".export"):
        return
    formats: dict[str, list[str]] = {name: metadata("model", name, "exports") or [] for name in groups()["model"]}
    offered = [
        each
        for name, found in formats.items()
        if (metadata("model", name, "network") or {}).get("_target_") == network.get("_target_")
        for each in found
    ]
    if not offered:
        has = listed(f"{name} ({listed(found)})" for name, found in formats.items() if found)
        raise ConfigError(
            f"{called(network)} has no format to export in", "stage=export", f"Models that fit this stage: {has}"
        )
    if stage.get("format") not in (None, *offered):
        what = f"{called(network)} cannot be written as {stage['format']}"
        raise ConfigError(what, "stage.format", f"Formats that fit this model: {listed(dict.fromkeys(offered))}")


def corpora_with(needs: Iterable[str]) -> list[str]:
    return [name for name in groups().get("data", []) if set(needs) <= set(metadata("data", name, "provides") or ())]


def tasks_for(provides: Iterable[str]) -> list[str]:
    return [name for name in groups().get("task", []) if set(metadata("task", name, "needs") or ()) <= set(provides)]


def families_with(shape: str, headed: bool = False) -> list[str]:
    found = [name for name in groups().get("model", []) if shape in (metadata("model", name, "architectures") or ())]
    return [name for name in found if not headed or metadata("model", name, "head") != "none"]


def tasks_with(shapes: Iterable[str]) -> list[str]:
    return [name for name in groups().get("task", []) if metadata("task", name, "architecture") in shapes]


def metadata(group: str, name: str, key: str) -> Any:
    """A key of the group's node as the option's YAML, or a file that it builds on, writes it."""
    node = option(group, name).get(group)
    return node.get(key) if isinstance(node, Mapping) else None


def called(part: Mapping[str, Any]) -> str:
    """The class's name, which is what the config still knows of an option."""
    return str(part.get("_target_", "it")).rpartition(".")[2]


def listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
