"""Hydra's grid, and one table of its jobs at the end: `-m seed=1,2 optimizer.lr=1e-3,1e-4`."""

import secrets
from datetime import datetime
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class Grid(BasicSweeper):
    """Every combination of the values, in a folder named by the time or by `sweep.name=`."""

    def sweep(self, arguments: list[str]) -> Any:
        from lmlab.sweeps.sweep import concluded

        assert self.config is not None
        name = self.config.sweep.name or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        with concluded(self.config, name):
            return super().sweep([*arguments, f"sweep.name={name}"])
