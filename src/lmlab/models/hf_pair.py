"""An encoder and a decoder of any family of transformers that has both: T5, BART, Marian, mBART, and the next one."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.models.hf_library import CONFIG, Given, Whole, built, refused
from lmlab.models.hf_stack import TWO_TEXTS, refuse_sizes
from lmlab.nn.network import Network
from lmlab.nn.recomputation import contexts
from lmlab.ranges import PositiveInt

ALL = torch.ones_like(TWO_TEXTS, dtype=torch.bool)


class HuggingFacePair(Network):
    """Two stacks that transformers builds, and what makes logits of the decoder's states."""

    may_begin_anew = ("output.",)

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt | None = None,
        *,
        max_length: PositiveInt,
        config_json: Mapping[str, Any],
    ) -> None:
        super().__init__()
        told = {**config_json, "vocab_size": vocab_size}
        whole: Any = built(told, "a text from a text").eval()
        sizes = whole.config.get_text_config()
        self.first = first_id(whole.config, vocab_size)
        refuse_sizes(sizes, d_model, max_length)
        self.context = getattr(sizes, "max_position_embeddings", None)
        for part in whole.modules():
            if isinstance(part, nn.Embedding) and part.num_embeddings == vocab_size:
                part.padding_idx = None  # the mask alone says what is padding: every row learns
        masks = {"attention_mask": ALL.long(), "decoder_attention_mask": ALL.long()}
        try:
            with torch.no_grad():
                expected = whole(input_ids=TWO_TEXTS, decoder_input_ids=TWO_TEXTS, use_cache=False, **masks).logits
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:  # of sizes that it takes
            raise refused(error) from error
        sides = {"encoder": whole.get_encoder(), "decoder": whole.get_decoder()}
        paths = {side: name_of(part, whole) for side, part in sides.items()}
        self.published = Whole(whole, told, {f"{path}.": f"body.{side}." for side, path in paths.items()})
        for side, path in paths.items():
            whole.set_submodule(path, Given(getattr(sides[side], "config", None)))
        self.body, self.output = nn.ModuleDict(sides), whole
        self.refuse_others(expected)
        self.train()

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        return self.body["encoder"](input_ids=tokens, attention_mask=mask.long(), return_dict=True).last_hidden_state

    def decode(
        self,
        tokens: Int[Tensor, "N T"],
        memory: Float[Tensor, "B S D"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "N T"] | None = None,
    ) -> Float[Tensor, "N T D"]:
        if memory is None or documents is not None:
            raise NotImplementedError(f"{type(self).__name__} writes no text but one for another.")
        past = None if cache is None else cache.get("past")
        if past is None:
            past = Past(memory, memory_mask, len(tokens) // len(memory))
        if cache is not None:
            cache["past"] = past
        return past.states(self.body["decoder"], tokens, keep=cache is not None)

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return self.output(inputs_embeds=states, decoder_inputs_embeds=states, use_cache=False).logits

    def recompute(self) -> None:
        for stack in self.body.values():
            if not stack.supports_gradient_checkpointing:
                return super().recompute()  # which refuses it
            stack.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": partial(contexts, stack)})

    def refuse_others(self, expected: Float[Tensor, "B T V"]) -> None:
        """Raises ConfigError for a family whose stacks and output layer do more than is asked of them here."""
        try:
            what = self.lack(expected)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            what = "the sides of {} cannot be asked one by one"
        if what:
            kind = self.output.config.model_type
            raise ConfigError(what.format(kind), CONFIG, "Use another family, such as t5, bart or marian")

    @torch.no_grad()
    def lack(self, expected: Float[Tensor, "B T V"]) -> str:
        """Why two short texts for two short texts are not what they should be; nothing if they are."""
        memory = self.encode(TWO_TEXTS, ALL)
        states = self.decode(TWO_TEXTS, memory, ALL)
        logits = self.logits(states)
        if logits.shape != expected.shape or not torch.allclose(logits, expected, atol=1e-4):
            return "the output layer of {} reads more than the last states"
        before = self.encode(TWO_TEXTS, ALL & (torch.arange(3) < 2))[:, :2]
        if not torch.allclose(before[0], before[1], atol=1e-5):
            return "{} sees what its mask hides: padding would change a text"
        cache: dict[str, Any] = {}
        parts = [self.decode(TWO_TEXTS[:, t : t + 1], memory, ALL, cache) for t in range(3)]
        if not torch.allclose(torch.cat(parts, 1), states, atol=1e-4):
            return "{} keeps no keys and values of what it has written"
        return ""


class Past:
    """What rows have written and what they read, as transformers keeps it: for each row anew."""

    def __init__(self, memory: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"] | None, copies: int) -> None:
        self.memory = memory.repeat_interleave(copies, 0)
        self.mask = None if mask is None else mask.repeat_interleave(copies, 0).long()
        self.layers: Any = None  # of the kind that the decoder makes
        self.length = 0

    def states(self, decoder: nn.Module, tokens: Int[Tensor, "N T"], *, keep: bool) -> Float[Tensor, "N T D"]:
        self.length += tokens.shape[1]
        made = decoder(
            input_ids=tokens,
            attention_mask=tokens.new_ones(len(tokens), self.length),  # else some hide what is like their padding
            encoder_hidden_states=self.memory,
            encoder_attention_mask=self.mask,
            past_key_values=self.layers,
            use_cache=keep,
            return_dict=True,
        )
        self.layers = made.past_key_values
        return made.last_hidden_state

    def reorder(self, rows: Int[Tensor, "M"], sources: Int[Tensor, "b"] | None) -> None:
        self.layers.self_attention_cache.reorder_cache(rows)
        if sources is None:  # each row still reads what it read: beams change places within a source alone
            return
        self.layers.cross_attention_cache.reorder_cache(rows)
        self.memory = self.memory[rows]
        self.mask = None if self.mask is None else self.mask[rows]


def first_id(config: Any, vocab_size: int) -> int | None:
    """What a decoder's texts begin with; where a family's config need not tell, T5's begin with the padding."""
    named = [config.pad_token_id, getattr(config, "bos_token_id", None)]
    told = config.decoder_start_token_id if hasattr(config, "decoder_start_token_id") else named[named[1] is not None]
    return told if told is not None and told < vocab_size else None


def name_of(part: nn.Module, whole: nn.Module) -> str:
    return next(name for name, module in whole.named_modules() if module is part)
