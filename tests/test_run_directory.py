"""A run folder belongs to one run, and its files are whole."""

import json

import pytest

from lmlab.errors import ConfigError, DiskError
from lmlab.run_directory import RunDirectory, provenance


def test_two_runs_never_share_a_folder(tmp_path):
    made = {RunDirectory.new(str(tmp_path), "transformer-imdb").path for _ in range(20)}
    assert len(made) == 20
    RunDirectory.new(str(tmp_path), "transformer-imdb", "mine")
    with pytest.raises(ConfigError, match="exists already"):
        RunDirectory.new(str(tmp_path), "transformer-imdb", "mine")


def test_an_output_that_is_a_file_is_a_disk_error(tmp_path):
    (tmp_path / "outputs").write_text("")
    with pytest.raises(DiskError, match="cannot be made"):
        RunDirectory.new(str(tmp_path / "outputs"), "transformer-imdb")


def test_manifest_and_metrics_grow_and_nothing_temporary_stays(tmp_path):
    run = RunDirectory(tmp_path)
    run.update_manifest(status="running", seed=1)
    run.update_manifest(status="finished")
    run.update_metrics("val", {"val/accuracy": 0.5})
    run.update_metrics("test", {"test/accuracy": 0.25})
    assert json.loads(run.manifest.read_text()) == {"status": "finished", "seed": 1}
    assert json.loads(run.metrics.read_text()) == {"val": {"val/accuracy": 0.5}, "test": {"test/accuracy": 0.25}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "metrics.json"]


def test_provenance_is_plain_and_names_versions():
    facts = json.loads(json.dumps(provenance(["python", "src/run.py"])))
    assert facts["versions"]["torch"] and facts["hardware"]["cores"] >= 1
