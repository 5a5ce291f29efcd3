"""Sweeps as a user starts them, and the launchers that they may be started through."""

import signal
import subprocess
import sys
import time

import hydra
import optuna
import pytest
import yaml

from jobs import ROOT, TINY, lmlab, write_reviews
from lmlab import check
from lmlab.errors import ConfigError
from lmlab.sweeps.processes import own_share, part
from lmlab.sweeps.sweep import refuse_unknown
from test_configs import compose

SEARCH = ["-m", "sweep=optuna", "trainer=cpu", "logger=csv", "data=text_files", "data.path=reviews"]


@pytest.mark.filterwarnings("ignore")
def test_a_search_stopped_by_ctrl_c_goes_on_where_it_was(tmp_path):
    write_reviews(tmp_path / "reviews")
    command = [sys.executable, ROOT / "src/run.py", *SEARCH, *TINY, "sweep.n_trials=2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as stopped:
        assert "job 0: " in stopped.stderr.readline()
        time.sleep(0.5)
        stopped.send_signal(signal.SIGINT)
        assert stopped.stderr.read().count("error: stopped by Ctrl-C.") == 1
    assert stopped.returncode == 130

    lmlab(*SEARCH, *TINY, "sweep.n_trials=1", cwd=tmp_path)
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    assert sweep.name.startswith("transformer-text_files-")
    study = optuna.load_study(study_name=sweep.name, storage=f"sqlite:///{sweep / 'study.db'}")
    cut, done = study.trials
    assert cut.state.name == "FAIL" and done.state.name == "COMPLETE" and done.params == cut.params
    assert len(done.intermediate_values) == 2
    (run,) = tmp_path.glob("outputs/transformer-text_files/*")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["sweep"]["name"] == sweep.name and config["optimizer"]["lr"] == done.params["optimizer.lr"]
    header, row = (sweep / "sweep.csv").read_text().splitlines()
    assert f"1,finished,0,{done.value}" in row and str(run.relative_to(tmp_path)) in row


def test_w_and_b_groups_the_runs_of_a_sweep():
    assert compose("sweep.name=s").logger.wandb.group == "s"
    assert compose("sweep.name=s", "logger.wandb.group=mine").logger.wandb.group == "mine"
    assert compose().logger.wandb.group is None


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm", "submitit_local", "ray"])
def test_a_launcher_composes_where_it_is_installed(launcher):
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    pytest.importorskip(plugin)
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        config = hydra.compose("config", [f"hydra/launcher={launcher}", "sweep=optuna"], return_hydra_config=True)
    assert config.hydra.launcher._target_.startswith(plugin)
    assert config.hydra.sweeper._target_ == "hydra_plugins.lmlab_optuna.OptunaSweeper"


def test_jobs_of_a_grid_run_side_by_side(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.name=both"]
    done = lmlab("-m", "seed=-1,-2", *parallel, cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("error: seed: ") == 2
    assert (tmp_path / "outputs/sweeps/both/sweep.csv").read_text().count(",failed,2,") == 2


def test_a_launcher_that_is_not_installed_is_told(tmp_path):
    done = lmlab("-m", "seed=1,2", "hydra/launcher=nowhere", cwd=tmp_path, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "hydra/launcher" in done.stderr


def test_jobs_share_a_machine_without_overlap(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with own_share(tmp_path, 2) as first, own_share(tmp_path, 2) as second:
        assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0,1", "2,3"}
    assert part([0, 1, 2, 3, 4], 1, 2) == [2, 3]
    assert [part(["a"], share, 3) for share in range(3)] == [["a"]] * 3 and part([], 0, 2) == []


def test_a_space_names_what_there_is():
    config = compose()
    refuse_unknown(["optimizer", "task.dropout", "+trainer.gradient_clip_val"], config)
    with pytest.raises(ConfigError, match="Did you mean task.dropout?"):
        refuse_unknown(["task.dropuot"], config)


def test_the_sweep_of_w_and_b_is_a_command_of_ours():
    sweep = yaml.safe_load((ROOT / "scripts/wandb_sweep.yaml").read_text())
    values = [f"{key}={spec['max']}" for key, spec in sweep["parameters"].items()]
    typed = [word for word in sweep["command"] if "=" in word] + values
    check.command_line(typed)
    config = compose(*typed)
    check.composed(config, typed)
    assert sweep["metric"]["name"] == config.task.monitor and sweep["metric"]["goal"].startswith(config.task.mode)
