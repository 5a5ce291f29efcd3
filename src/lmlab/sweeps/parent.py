"""What ties a job's process to the sweep that started it."""

import os
import sys

from lmlab import signals

PARENT = "LMLAB_PARENT"  # environment of a job: the process that it must not outlive


def die_with_parent() -> bool:
    """Let Linux end this process when the one that started it ends, if that was a sweep; returns whether it was."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return False
    signals.die_with_parent()
    if sys.platform == "linux" and os.getppid() != int(parent):  # it has ended already
        sys.exit(143)
    return True
