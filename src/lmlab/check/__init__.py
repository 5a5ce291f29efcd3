"""The config checked before torch is imported: typos, types, ranges, pairs, secrets; one sentence per mistake.

Nothing here imports what it checks: signatures are read from source, YAML as text, and hydra and omegaconf (0.3 s)
only by the functions that are given a composed config.
"""

from lmlab.check.argv import Command, command_line
from lmlab.check.finished_run import read_config, rebase
from lmlab.check.help_page import help_text
from lmlab.check.metadata import METADATA
from lmlab.check.refused import explain
from lmlab.check.resumption import is_unfinished, resumed
from lmlab.check.signatures import allowed
from lmlab.check.sweep_keys import sweep_keys
from lmlab.check.tree import FIRST_STAGES, composed
from lmlab.check.yaml_files import CONF

__all__ = [
    "CONF",
    "FIRST_STAGES",
    "METADATA",
    "Command",
    "allowed",
    "command_line",
    "composed",
    "explain",
    "help_text",
    "is_unfinished",
    "read_config",
    "rebase",
    "resumed",
    "sweep_keys",
]
