"""What is printed is kept, but for lines that are redrawn."""

import sys

from lmlab.terminal import logged, print_table


def test_the_log_keeps_what_was_printed_and_no_progress_bar(tmp_path, capsys):
    with logged(tmp_path / "run.log"):
        print_table("Plan", {"steps": 12, "loss": 0.5})
        print("\rtraining 50%", end="", file=sys.stderr)
        print("warning: short", file=sys.stderr)
    kept = (tmp_path / "run.log").read_text()
    assert "Plan" in kept and "0.5000" in kept and "warning: short" in kept and "50%" not in kept
    said = capsys.readouterr()
    assert "Plan" in said.out and "50%" in said.err
    print("after", file=sys.stderr)
    assert "after" not in (tmp_path / "run.log").read_text()
