"""What looks like a secret: a run folder, a sweep's YAML and a dashboard must never receive one."""

import re
from collections.abc import Callable

from lmlab.errors import ConfigError

ALWAYS = {"password", "passwd", "passphrase", "secret", "secrets", "credential", "credentials", "apikey"}
LAST = {"key", "token", "auth"}  # api_key, hf_token; not tokenizer, max_tokens, token_dropout
TOKENIZER = {"pad", "unk", "cls", "sep", "mask", "bos", "eos"}  # mask_token is no secret
VALUE = re.compile(r"(hf_|sk-|ghp_|github_pat_|wandb_v1_)\w{16,}|[0-9a-f]{40}")


def looks_secret(key: str, value: object = None) -> bool:
    """Whether the last part of a dotted key, or the value itself, has the form of a credential."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.split(r"[./@]", key)[-1]).lower().replace("-", "_").split("_")
    by_name = bool(ALWAYS & set(words)) or (words[-1] in LAST and not TOKENIZER & set(words))
    return by_name or (isinstance(value, str) and VALUE.fullmatch(value.strip("'\"")) is not None)


def refuse_secret(key: str, value: object, where: Callable[[], str]) -> None:
    """Raises ConfigError, never showing the value, if the pair looks like a secret."""
    if value not in (None, "") and looks_secret(key, value):
        raise ConfigError(
            f"{key} looks like a secret, and a run keeps its config",
            where(),
            "Set it in the environment: WANDB_API_KEY for W&B, HF_TOKEN for the Hugging Face hub",
        )
