"""One command: compose a config, check it, run one stage. `python src/run.py model=transformer data=imdb trainer=ddp`.

Nothing here imports torch before the config is known to be right: a typo is answered in half a second.
"""

import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence

from lmlab import check
from lmlab.errors import DiskError, JobsFailed, LmlabError, Stopped
from lmlab.sweeps.parent import die_with_parent

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


def main(arguments: Sequence[str]) -> int:
    """The exit code of the command line `arguments`; with -m that of the first job that failed."""
    in_sweep = die_with_parent()
    debug = any(argument in ("debug=true", "debug=default") for argument in arguments)
    try:
        command = check.command_line(arguments)
        if command.help:
            print(check.help_text(), flush=True)
            return 0
        return composed(command)
    except KeyboardInterrupt:
        if not in_sweep:  # which says so itself
            print("error: stopped by Ctrl-C.", file=sys.stderr)
        return 130
    except Stopped as stopped:
        fix = f" Go on with resume={stopped.run}" if stopped.run else ""
        print(f"error: {stopped}.{fix}", file=sys.stderr)
        return stopped.exit_code
    except BrokenPipeError:  # `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return report(error, debug)


def composed(command: check.Command) -> int:
    """Lets Hydra compose each job's config and call it; a sweep calls this program again for each of its jobs."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions arrive here as they are
    gc.disable()  # until the config is checked: all that composing makes stays alive
    import hydra
    from hydra._internal.hydra import Hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # Hydra composes everything a second time to read hydra.mode, which nothing here sets
    Hydra.get_mode = lambda self, config_name, overrides: None
    codes = []

    def job(cfg: DictConfig) -> float | None:
        state = HydraConfig.get()
        composed_from = OmegaConf.to_container(state.overrides, resolve=False)["task"]
        overrides = [override for override in composed_from if override not in command.inherited]
        if state.mode.name == "MULTIRUN":
            from lmlab.sweeps import jobs

            return jobs.start(cfg, state, [*command.flags, *overrides])
        try:
            return one_run(cfg, overrides, dict(state.runtime.choices))
        except Exception as error:
            codes.append(report(error, command.debug))
        return None

    sys.argv[1:] = command.argv
    try:
        hydra.main(version_base="1.3", config_path=str(check.CONF), config_name="config")(job)()
    except JobsFailed as failed:
        return failed.exit_code
    except (HydraException, OmegaConfBaseException) as error:
        raise check.explain(error, command.overrides) from error
    return next(iter(codes), 0)


def one_run(cfg, overrides: list[str], choices: dict[str, str]) -> float | None:
    """One job: its config checked, on top of a run's if one is given, then its stage. Its objective."""
    folder, sweep = cfg.run.folder, cfg.sweep
    if cfg.resume is not None:
        cfg = check.resumed(cfg, overrides, choices)
        folder = cfg.resume
    elif folder is not None:
        cfg = check.rebase(cfg, check.read_config(folder), overrides)
    check.composed(cfg, overrides, choices, folder)
    gc.enable()
    from lmlab.job import run
    from lmlab.sweeps import records

    facts = {"objective": None}
    try:
        results = run(cfg, overrides, choices)
        facts = records.facts(results, cfg.task.monitor) | {"scores": records.scores(results, cfg.task)}
    finally:
        if sweep.job is not None:
            folder = records.sweep_folder(cfg.run.output, sweep.name)
            judged = {"monitor": cfg.task.monitor, "mode": cfg.task.mode}
            records.update(folder, sweep.job, run=cfg.run.folder, **judged, **facts)
    return facts["objective"]


def report(error: Exception, debug: bool) -> int:
    """Prints an exception as one line, and its traceback where the user asked for it; returns the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno in DISK:
        error = DiskError(error.strerror, error.filename or "disk", "Free space, or choose another run.output=")
    if isinstance(error, LmlabError):
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    message = next(iter(str(error).strip().splitlines()), "no message")
    place = ", ".join(getattr(error, "__notes__", [])) or "unexpected"
    fix = "" if debug else " debug=true prints the traceback."
    print(f"error: {type(error).__name__}: {message[:300].rstrip('.')} ({place}).{fix}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
