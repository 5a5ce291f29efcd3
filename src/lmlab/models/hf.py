"""Any family of transformers, built by its config.json, with as many sides as the task needs."""

from collections.abc import Mapping
from typing import Any, Literal

from lmlab.models.hf_library import configuration, content
from lmlab.models.hf_pair import HuggingFacePair
from lmlab.models.hf_stack import HuggingFaceStack
from lmlab.nn.network import Network
from lmlab.ranges import PositiveInt


def HuggingFace(
    vocab_size: PositiveInt,
    d_model: PositiveInt | None = None,
    *,
    architecture: Literal["encoder", "decoder", "encoder-decoder"],
    max_length: PositiveInt,
    config: Mapping[str, Any] | str | None = None,
    config_json: Mapping[str, Any] | None = None,
    pooling: Literal["first", "mean", "last"] | None = None,
    masked_head: bool = False,
) -> Network:
    """The network of a task's architecture, which a config names like any class; float32, whatever was published.

    `config` is what a user names, `config_json` what that comes to, read once and kept in the run's config. Dropout is
    torch's own, seeded before each batch: a resumed training is exact, but n processes do not draw what one would.
    """
    told = config_json or content(config, None)
    if architecture == "encoder-decoder":
        return HuggingFacePair(vocab_size, d_model, max_length=max_length, config_json=told)
    return HuggingFaceStack(
        vocab_size,
        d_model,
        architecture=architecture,
        max_length=max_length,
        config_json=told,
        pooling=pooling,
        masked_head=masked_head,
    )


def found(options: Mapping[str, Any], weights: str | None) -> dict[str, Any]:
    """What `Network.found` tells, of either."""
    if options.get("config_json") is not None:
        return {}
    told = content(options.get("config"), weights)
    sizes = configuration(told).get_text_config()
    return {
        "network.config_json": told,
        "network.d_model": options.get("d_model") or sizes.hidden_size,
        "published_vocab": sizes.vocab_size,
    }


HuggingFace.found = found  # type: ignore[attr-defined]
