"""What a language model writes while it learns, after each validation: the same prompts, and from the same codes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from lmlab.generate import continuations, device_of, ids
from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeFloat, PositiveInt, Seed
from lmlab.tasks.autoencoding import Autoencoding
from lmlab.tasks.causal_lm import CausalLM


class Samples(Callback):
    """Writes samples/step-<step>.txt, a text for each prompt, and the same to W&B; training's random numbers stay."""

    def __init__(
        self,
        folder: str,
        prompts: Sequence[str | Literal[""]] = ("",),
        *,
        max_new_tokens: PositiveInt = 200,
        temperature: NonNegativeFloat = 0.8,
        seed: Seed = 0,
    ) -> None:
        self.folder, self.prompts = Path(folder), list(prompts)
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        writes = isinstance(module.task, CausalLM) or (
            isinstance(module.task, Autoencoding) and module.network.has_prior
        )
        if not (fitting and trainer.is_global_zero and writes and self.prompts):
            return
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            texts = self.texts(trainer, module)
        finally:
            for part, training in modes.items():
                part.training = training
        step = trainer.global_step
        path = self.folder / "samples" / f"step-{step:08d}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"\n{'-' * 20}\n".join(texts) + "\n", encoding="utf-8")
        rows = [[step, prompt, text] for prompt, text in zip(self.prompts, texts, strict=True)]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("samples", columns=["step", "prompt", "text"], data=rows)

    def texts(self, trainer: pl.Trainer, module: pl.LightningModule) -> list[str]:
        """Each prompt and what follows it."""
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        network = cast(Network, module.network)
        framed = [[tokenizer.sep_id, *text] for text in tokenizer.encode(self.prompts)]
        generator = torch.Generator(device_of(network)).manual_seed(self.seed)
        written = continuations(
            network,
            framed,
            **ids(tokenizer),
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            generator=generator,
            memory=network.prior(len(framed), generator) if network.has_prior else None,
        )
        return [tokenizer.decode([*prompt, *text]) for prompt, text in zip(framed, written, strict=True)]
