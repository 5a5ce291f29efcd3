"""One stack of layers of any family of transformers: Llama, Qwen, DistilBERT, T5's encoder, and the next one."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.models.hf_library import CONFIG, Given, Whole, built, refused, transformers
from lmlab.nn.network import Network
from lmlab.nn.pooling import last_states
from lmlab.nn.recomputation import contexts
from lmlab.ranges import PositiveInt

TWO_TEXTS = torch.tensor([[0, 0, 0], [0, 0, 1]])  # that differ in their last token


class HuggingFaceStack(Network):
    """A body that transformers builds, and the output layer that the task asks for."""

    may_begin_anew = ("output.",)

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt | None = None,
        *,
        architecture: Literal["encoder", "decoder"],
        max_length: PositiveInt,
        config_json: Mapping[str, Any],
        pooling: Literal["first", "mean", "last"] | None = None,
        masked_head: bool = False,
    ) -> None:
        super().__init__()
        told = {**config_json, "vocab_size": vocab_size}
        asked = "next tokens" if architecture == "decoder" else "masked tokens" if masked_head else "states of a text"
        headed = asked != "states of a text"
        whole: Any = built(told, asked).eval()
        self.published = Whole(whole, told, {f"{whole.base_model_prefix}." if headed else "": "body."})
        self.body: Any = getattr(whole, whole.base_model_prefix) if headed else whole
        sizes = self.body.config.get_text_config()
        self.first_position = without_padding(self.body)
        refuse_sizes(sizes, d_model, max_length, self.first_position)
        self.context = max_length
        self.takes = frozenset(inspect.signature(self.body.forward).parameters)
        self.takes_segments = "token_type_ids" in self.takes and getattr(sizes, "type_vocab_size", 0) > 1
        try:
            self.causal = self.reads_onward()
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:  # of sizes that it takes
            raise refused(error) from error
        if architecture == "decoder":
            self.refuse_other_decoders()
            layers = transformers().DynamicCache(config=sizes).layers
            self.rewinds = all(type(layer).__name__ == "DynamicLayer" for layer in layers)  # sliding windows forget
        self.output: Any = None
        if headed:
            self.take_output(whole)
        self.pooling = pooling or ("last" if self.causal else "mean")
        self.train()

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        told: dict[str, Tensor] = {}
        if not self.causal:  # else padding stands to the right: no real token looks at it
            told["attention_mask"] = mask.long()
        if self.takes_segments and segments is not None:
            told["token_type_ids"] = segments
        return self.states(tokens, **told)

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        if not self.causal or memory is not None:
            return super().decode(tokens, memory, memory_mask, cache, documents)
        if documents is not None:
            raise NotImplementedError(f"{type(self).__name__} reads on from text to text.")
        if cache is None:
            return self.states(tokens, use_cache=False)
        if "past" not in cache:
            cache["past"] = transformers().DynamicCache(config=self.body.config)
        past = cache["past"]
        if surplus := past.get_seq_length() - cache.get("length", 0):  # guesses that did not come true
            past.crop(-surplus)
        states = self.states(tokens, past_key_values=past, use_cache=True)
        cache["length"] = past.get_seq_length()
        return states

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return super().logits(states) if self.output is None else self.output(inputs_embeds=states).logits

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        if self.pooling == "mean":
            return super().pool(states, mask)
        return states[:, 0] if self.pooling == "first" else last_states(states, mask, bidirectional=False)

    def recompute(self) -> None:
        if not self.body.supports_gradient_checkpointing:
            return super().recompute()  # which refuses it
        self.body.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": partial(contexts, self.body)})

    def states(self, tokens: Int[Tensor, "B T"], **told: Any) -> Float[Tensor, "B T D"]:
        return self.body(input_ids=tokens, **self.places(tokens), **told).last_hidden_state

    def places(self, tokens: Int[Tensor, "B T"]) -> dict[str, Tensor]:
        """The positions, for a family that else counts the ids that are not its own padding's."""
        if not self.first_position:
            return {}
        numbers = torch.arange(tokens.shape[1], device=tokens.device) + self.first_position
        return {"position_ids": numbers.expand_as(tokens)}

    @torch.no_grad()
    def reads_onward(self) -> bool:
        """Whether no state sees a later token: configs do not tell, and some listed as decoders read both ways."""
        states = self.states(TWO_TEXTS)
        if torch.allclose(states[0, :2], states[1, :2], atol=1e-5):
            return True
        states = self.states(TWO_TEXTS, attention_mask=torch.tensor([[1, 1, 0], [1, 1, 0]]))
        if not torch.allclose(states[0, :2], states[1, :2], atol=1e-5):
            what = f"{self.body.config.model_type} sees what its mask hides: padding would change a text"
            raise ConfigError(what, CONFIG, "Use another family")
        return False

    @torch.no_grad()
    def take_output(self, whole: Any) -> None:
        """The output layer of a whole model, which must read nothing but the last states of the body."""
        states, expected = self.states(TWO_TEXTS), whole(input_ids=TWO_TEXTS, **self.places(TWO_TEXTS)).logits
        setattr(whole, whole.base_model_prefix, Given())
        self.output = whole
        try:
            same = torch.allclose(self.logits(states), expected, atol=1e-4)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            same = False
        if not same:
            kind = self.body.config.model_type
            fix = "Choose task=classification, or another family"
            raise ConfigError(f"the output layer of {kind} reads more than the last states", CONFIG, fix)

    def refuse_other_decoders(self) -> None:
        kind = self.body.config.model_type
        if not self.causal:
            raise ConfigError(f"{kind} reads both ways: it cannot learn the next token", CONFIG, "Use task=masked_lm")
        if "past_key_values" not in self.takes:
            raise ConfigError(f"{kind} keeps no keys and values", CONFIG, "Use a family such as llama, qwen2 or gpt2")


def refuse_sizes(sizes: Any, d_model: int | None, max_length: int, first_position: int = 0) -> None:
    if d_model not in (None, sizes.hidden_size):
        what = f"model.network.d_model is {d_model}, and {CONFIG} says {sizes.hidden_size}"
        raise ConfigError(what, fix="Leave it out")
    positions = getattr(sizes, "max_position_embeddings", None) or 0  # XLNet's are -1
    if 0 < positions < max_length + first_position:
        room = positions - first_position
        what = f"texts of {max_length} tokens, and positions for {room}"
        raise ConfigError(what, "data.max_length", f"Set it to {room} or less")


def without_padding(body: Any) -> int:
    """Let the mask alone say what is padding, so that every row of a table learns; where positions of texts begin."""
    first = 0
    for name, part in body.named_modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            if name.endswith("position_embeddings"):
                first = part.padding_idx + 1
            part.padding_idx = None
    body.config.pad_token_id = None
    return first
