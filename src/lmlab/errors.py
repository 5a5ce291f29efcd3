"""What lmlab raises when the user can mend it: one line, one exit code (shared list in the README)."""


class LmlabError(Exception):
    """An error told as `<what> (<where>). <fix>`; `exit_code` is what the process ends with."""

    exit_code = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        place = f" ({where})" if where else ""
        super().__init__(f"{what}{place}. {fix}".rstrip(". ").rstrip() + ("" if fix.endswith("?") else "."))


class ConfigError(LmlabError):
    exit_code = 2


class DataError(LmlabError):
    exit_code = 65


class InputMissing(LmlabError):
    exit_code = 66


class NotANumber(LmlabError):
    exit_code = 70


class OutOfMemory(LmlabError):
    exit_code = 71


class DiskError(LmlabError):
    exit_code = 74


class CheckpointError(LmlabError):
    exit_code = 76


class Stopped(BaseException):
    """The end of a job that was asked to stop; no `except Exception` on its way takes it for a failure."""

    def __init__(self, by: str, resumable: bool = False) -> None:
        super().__init__(f"stopped by {'Ctrl-C' if by == 'SIGINT' else by}")
        self.exit_code = 130 if by == "SIGINT" else 143
        self.resumable = resumable  # a checkpoint of this very step was saved
        self.run: object = None  # the folder to go on with, once it is known


class JobsFailed(Exception):
    """A sweep came to its end, and at least one of its jobs failed; each has told why."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code
