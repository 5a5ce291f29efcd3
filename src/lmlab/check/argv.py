"""The command line before Hydra sees it: shorthands written out, and what can be refused without composing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.check import finished_run
from lmlab.check.nearest import did_you_mean
from lmlab.check.override import Override, parse
from lmlab.check.pairs import metadata
from lmlab.check.secret import refuse_secret
from lmlab.check.typed_values import refuse_misfits
from lmlab.check.unknown_key import unknown_key
from lmlab.check.yaml_files import groups, written_somewhere
from lmlab.errors import ConfigError

OTHER_CONF = {"--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"}
MULTIRUN = {"-m", "--multirun"}
# whatever signs they hold
TEXTS = {"stage.prompt", "stage.start", "stage.end", "stage.question", "stage.context", "stage.query"}
TAKES_VALUE = OTHER_CONF | {"--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"}


@dataclass(frozen=True)
class Command:
    """What the user asked for: the arguments for Hydra, those that a finished run or a family added, who wants what."""

    argv: list[str]
    overrides: list[Override]
    inherited: list[str]
    debug: bool
    help: bool
    flags: list[str]


def command_line(arguments: Sequence[str]) -> Command:
    """Writes out `run=<folder>` and `debug=true`; raises ConfigError for what no config could accept."""
    flags, overrides = [], []
    for index, argument in enumerate(arguments):
        if argument.startswith("-") or (index and arguments[index - 1] in TAKES_VALUE):
            flags.append(argument)
        else:
            overrides.append(written_out(parse(argument)))
    for override in overrides:
        refuse_secret(override.key, override.value, lambda: "command line")
    refuse_twice(overrides)
    refuse_search_of_one(overrides, bool(MULTIRUN & set(flags)))
    inherited = inherit(overrides) + family_task(overrides)
    if not any(flag.partition("=")[0] in OTHER_CONF for flag in flags):
        for override in overrides:
            refuse_unknown_option(override)
            if not could_be_known(override):
                raise unknown_key(override, [*map(parse, inherited), *overrides])
        refuse_misfits([*map(parse, inherited), *overrides], sweep=bool(MULTIRUN & set(flags)))
    return Command(
        argv=[*flags, *inherited, *map(str, overrides)],
        overrides=overrides,
        inherited=inherited,
        debug=any(override.key == "debug" and override.value not in ("null", "") for override in overrides),
        help=bool({"--help", "-h"} & set(flags)),
        flags=[flag for flag in flags if flag not in MULTIRUN],
    )


def written_out(override: Override) -> Override:
    """`run=<folder>` is `run.folder=<folder>`; `debug=true` is `debug=default`: Hydra takes no bool for a group."""
    if override.key == "run":
        override = Override("", "run.folder", override.value)
    if (
        override.key in ("run.folder", "resume")
        and override.value
        and re.search(r"[^\w./~-]", override.value.strip("'\""))
    ):
        bare = override.value.strip("'\"").replace("\\", "\\\\").replace("'", "\\'")
        return Override("", override.key, f"'{bare}'")  # Hydra's grammar wants quotes round = , and spaces
    if override.key in TEXTS and override.value:
        return Override("", override.key, quoted(override.value))
    if override.key == "debug" and override.value in ("true", "false"):
        return Override("", "debug", "default" if override.value == "true" else "null")
    return override


def quoted(text: str) -> str:
    """A text in Hydra's quotation marks, if it has none: a question is text, whatever signs it holds."""
    if re.fullmatch(r"'[^']*'|\"[^\"]*\"", text):
        return text
    # a backslash counts only before a quotation mark and at the end
    text = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + (found[2] and "\\'"), text)
    return f"'{text}'"


def refuse_twice(overrides: Sequence[Override]) -> None:
    seen: dict[str, Override] = {}
    for override in overrides:
        if (first := seen.setdefault(override.key, override)) is not override:
            raise ConfigError(
                f"{override.key} is given twice, as {first.value!r} and as {override.value!r}",
                "command line",
                f"Remove {first} or {override}",
            )


def refuse_search_of_one(overrides: Sequence[Override], multirun: bool) -> None:
    """`sweep=` without -m would train once and search nothing; a job of a sweep is told which one it is."""
    typed = {override.key: override.value for override in overrides}
    if typed.get("sweep", "null") != "null" and not multirun and "sweep.job" not in typed:
        raise ConfigError(f"sweep={typed['sweep']} is a search of many runs", "command line", "Add -m")


def refuse_unknown_option(override: Override) -> None:
    """For `group=option`, sweeps `group=a,b` and lists `group=[a,b]`; functions such as glob(*) are left to Hydra."""
    options = groups().get(override.key)
    if options is None or override.value is None or "(" in override.value:
        return
    for option in (part.strip("[] '\"") for part in override.value.split(",")):
        if option == "" and options:
            raise ConfigError(f"{override.key}= names no option", "command line", did_you_mean("", options))
        if option != "null" and option not in options:
            fix = did_you_mean(option, options)
            raise ConfigError(f"no {override.key} is called {option!r}", "command line", fix)


def could_be_known(override: Override) -> bool:
    """False for a key that no YAML file writes; what remains, Hydra judges."""
    root, leaf = override.key.partition(".")[0], override.key.rpartition(".")[2]
    if override.sign or root.partition("/")[0] == "hydra" or override.key.partition("@")[0] in groups():
        return True
    return written_somewhere(leaf)


def inherit(overrides: Sequence[Override]) -> list[str]:
    """The group choices of the finished run, for the groups that the user leaves open."""
    folder = next((override.value for override in overrides if override.key in ("run.folder", "resume")), None)
    if folder in (None, "", "null", "auto"):
        return []
    typed = {override.key for override in overrides}
    choices = finished_run.choices(folder.strip("'\"").replace("\\'", "'").replace("\\\\", "\\"))
    return [
        f"{group}={option}"
        for group, option in choices.items()
        if group not in typed and option in groups().get(group, ()) and group not in ("stage", "sweep", "debug")
    ]


def family_task(overrides: Sequence[Override]) -> list[str]:
    """On raw text a family that was named picks the task, where its YAML says so: BERT a masked token, not the next."""
    typed = {override.key: override.value or "" for override in overrides}
    if typed.keys() & {"task", "experiment", "run.folder", "resume"}:
        return []
    model, data = typed.get("model", ""), typed.get("data", "")
    if metadata("data", data, "provides") != ["text"] or not (task := metadata("model", model, "pretraining")):
        return []
    return [f"task={task}"]
