"""Run at the start of each process that a test starts: it has no extras, as on a fresh machine.

Lightning's metrics import these packages wherever they are installed, which is a quarter of such a process's time.
"""

import importlib.metadata
import sys

EXTRAS = ("scipy", "sklearn", "transformers")
version = importlib.metadata.version


def version_if_needed(name: str) -> str:
    if name in EXTRAS:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)


importlib.metadata.version = version_if_needed
sys.modules.update(dict.fromkeys(EXTRAS))
