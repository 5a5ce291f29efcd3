"""What ties a job's process to the sweep that started it."""

import os
import signal
import sys

PARENT = "LMLAB_PARENT"  # environment of a job: the process that it must not outlive


def die_with_parent() -> bool:
    """Let Linux end this process when the one that started it ends, if that was a sweep; returns whether it was."""
    parent = os.environ.pop(PARENT, None)
    if parent is None or sys.platform != "linux":
        return parent is not None
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):  # it has ended already
        sys.exit(143)
    return True
