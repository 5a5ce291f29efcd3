"""Whether a config's value fits an annotation, and how the annotation reads in words."""

import ast
import codecs
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Any], bool]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def known_encoding(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(codecs.lookup(value))
    except LookupError:
        return False


def duration(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", value) is not None


NAMED: dict[str, tuple[str, Predicate]] = {
    "int": ("whole number", whole),
    "float": ("number", number),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("text", lambda value: isinstance(value, str) and value != ""),
    "Path": ("text", lambda value: isinstance(value, str) and value != ""),
    "None": ("null", lambda value: value is None),
    "Callable": ("a part with a _target_", lambda value: False),  # a mapping with one is let through before this
    "Duration": ("days:hours:minutes:seconds such as 00:00:10:00", duration),
    # lmlab.ranges, by name; a test holds the two lists together
    "PositiveInt": ("whole number >= 1", lambda value: whole(value) and value >= 1),
    "NonNegativeInt": ("whole number >= 0", lambda value: whole(value) and value >= 0),
    "PositiveFloat": ("number > 0", lambda value: number(value) and value > 0),
    "NonNegativeFloat": ("number >= 0", lambda value: number(value) and value >= 0),
    "Share": ("number above 0, at most 1", lambda value: number(value) and 0 < value <= 1),
    "Probability": ("number from 0 to 1", lambda value: number(value) and 0 <= value <= 1),
    "Fraction": ("number from 0 to below 1", lambda value: number(value) and 0 <= value < 1),
    "Seed": ("whole number from 0 to 4294967295", lambda value: whole(value) and 0 <= value < 2**32),
    "Encoding": ("encoding (utf-8, latin-1, utf-16, ...)", known_encoding),
}
LISTS = {"Sequence", "list", "List", "tuple", "Tuple", "Iterable", "set", "Collection"}
MAPPINGS = {"Mapping", "dict", "Dict", "MutableMapping"}

PRECISIONS = "'auto', '32-true', '16-mixed', 'bf16-mixed', '16-true', 'bf16-true', '64-true', 'bf16', 16, 32, 64"
LIMIT = "Probability | PositiveInt"
OPTIMIZER = {
    "betas": "tuple[Fraction, Fraction]",
    "eps": "PositiveFloat",
    "lr": "PositiveFloat",
    "momentum": "Fraction",
    "weight_decay": "NonNegativeFloat",
}
STRICTER = {  # what other people's constructors leave open, in the same notation
    "lightning.pytorch.Trainer": {
        "accelerator": "Literal['auto', 'cpu', 'gpu', 'cuda', 'mps', 'tpu', 'hpu']",
        "accumulate_grad_batches": "PositiveInt",
        "check_val_every_n_epoch": "PositiveInt | None",
        "devices": "PositiveInt | Literal['auto', -1] | Sequence[NonNegativeInt]",
        "gradient_clip_val": "NonNegativeFloat | None",
        "limit_predict_batches": LIMIT,
        "limit_test_batches": LIMIT,
        "limit_train_batches": LIMIT,
        "limit_val_batches": LIMIT,
        "log_every_n_steps": "PositiveInt",
        "max_epochs": "NonNegativeInt | Literal[-1] | None",
        "max_steps": "PositiveInt | Literal[-1]",
        "max_time": "Duration | None",
        "num_nodes": "PositiveInt",
        "num_sanity_val_steps": "NonNegativeInt | Literal[-1]",
        "overfit_batches": LIMIT,
        "precision": f"Literal[{PRECISIONS}]",
        "strategy": "str",
        "val_check_interval": LIMIT,
    },
    "lightning.pytorch.loggers": {"name": "str | None | Literal['']"},
    "lmlab.data": {"encoding": "Encoding"},
    "torch.optim": OPTIMIZER,
    "lmlab.optimizers": OPTIMIZER,
}


def annotation(target: str, name: str, own: ast.expr | None) -> ast.expr | None:
    """The annotation to hold a value against: the stricter one where lmlab knows better, else the target's own."""
    for prefix, table in STRICTER.items():
        if (target == prefix or target.startswith(f"{prefix}.")) and name in table:
            return ast.parse(table[name], mode="eval").body
    return own


def fits(value: Any, kind: ast.expr | None) -> bool:
    """Whether `value` may be given for the annotation `kind`; what the words above do not cover always may."""
    if isinstance(value, Mapping) and "_target_" in value:
        return True  # a part, made before it is handed over
    match alternatives(kind):
        case [single]:
            return fits_one(value, single)
        case several:
            return any(fits_one(value, one) for one in several)


def fits_one(value: Any, kind: ast.expr | None) -> bool:
    name, arguments = head(kind)
    if name == "Literal":
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in arguments)
    if name in LISTS:
        item = arguments[0] if arguments else None
        right_length = not fixed_length(name, arguments) or len(value) == len(arguments)
        return isinstance(value, list) and right_length and all(fits(entry, item) for entry in value)
    if name in MAPPINGS:
        item = arguments[1] if len(arguments) > 1 else None
        return isinstance(value, Mapping) and all(fits(entry, item) for entry in value.values())
    return NAMED[name][1](value) if name in NAMED else True


def fixed_length(name: str, arguments: list[Any]) -> bool:
    """True of tuple[A, A], not of tuple[A, ...]; the items of a pair in a config are of one kind."""
    return name in ("tuple", "Tuple") and not any(ast.unparse(one) == "..." for one in arguments)


def misfit(value: Any, kind: ast.expr | None) -> tuple[str, Any, str] | None:
    """None where `value` fits; else where inside it (`[2]`, `.name`), the part that does not fit, what was expected."""
    if fits(value, kind):
        return None
    for one in alternatives(kind):
        name, arguments = head(one)
        if name in LISTS and isinstance(value, list) and arguments:
            for index, entry in enumerate(value):
                if not fits(entry, arguments[0]):
                    return below(f"[{index}]", entry, arguments[0])
        if name in MAPPINGS and isinstance(value, Mapping) and len(arguments) > 1:
            key = next(key for key, entry in value.items() if not fits(entry, arguments[1]))
            return below(f".{key}", value[key], arguments[1])
    return "", value, in_words(kind)


def below(place: str, value: Any, kind: ast.expr | None) -> tuple[str, Any, str]:
    """The misfit of a part that is known not to fit, placed."""
    inside, part, expected = misfit(value, kind) or ("", value, in_words(kind))
    return place + inside, part, expected


def in_words(kind: ast.expr | None) -> str:
    """An annotation as a user reads it: `whole number >= 1 or null`."""
    return " or ".join(dict.fromkeys(filter(None, map(one_in_words, alternatives(kind)))))


def one_in_words(kind: ast.expr | None) -> str:
    name, arguments = head(kind)
    if name == "Literal":
        choices = [str(choice) for choice in arguments]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if name in LISTS:
        how_many = f"{len(arguments)} of " if fixed_length(name, arguments) else ""
        return f"a list of {how_many}{in_words(arguments[0])}" if arguments else "a list"
    if name in MAPPINGS:
        return "a mapping"
    return NAMED[name][0] if name in NAMED else ""


def alternatives(kind: ast.expr | None) -> list[ast.expr | None]:
    """`A | B`, Optional[A] and Union[A, B] taken apart; a quoted annotation unquoted."""
    if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
        return alternatives(ast.parse(kind.value, mode="eval").body)
    if isinstance(kind, ast.BinOp):
        return alternatives(kind.left) + alternatives(kind.right)
    if isinstance(kind, ast.Subscript) and last_name(kind.value) in ("Optional", "Union"):
        parts = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        none = [ast.Constant(None)] if last_name(kind.value) == "Optional" else []
        return [one for part in parts for one in alternatives(part)] + none
    return [kind]


def head(kind: ast.expr | None) -> tuple[str, list[Any]]:
    """The name an annotation begins with, and what stands in its brackets."""
    if isinstance(kind, ast.Constant) and kind.value is None:
        return "None", []
    if not isinstance(kind, ast.Subscript):
        return last_name(kind), []
    parts = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
    name = last_name(kind.value)
    if name == "Annotated":
        return head(parts[0])
    return name, [ast.literal_eval(part) for part in parts] if name == "Literal" else parts


def last_name(kind: ast.expr | None) -> str:
    return kind.attr if isinstance(kind, ast.Attribute) else kind.id if isinstance(kind, ast.Name) else ""
