"""Where in a source a network looked while it wrote a text: the weights of its attention, read again and drawn."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lmlab.nn.network import Network
from lmlab.tasks.seq2seq import Seq2Seq
from lmlab.tokenizer import Tokenizer

SHOWN = 60  # tokens at most of each side: the names of more could not be read
INCH = 0.2  # a token
FONTS = (  # with characters that matplotlib's own has not, by where they are found
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "IPAexGothic", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Arial Unicode MS"),
)


class Alignment(NamedTuple):
    """Tokens of a source and of a text as they are written, and how much each of the text looked at each."""

    source: list[str]
    written: list[str]
    weights: Tensor  # (T, S), rows sum to 1 if all of the source is shown


@torch.inference_mode()
def reread(
    task: Seq2Seq, network: Network, batch: Mapping[str, Any], tokenizer: Tokenizer, hypothesis: str
) -> Alignment:
    """One pass over a text that was written, what ends it among its tokens; `batch` holds its source alone, in the ids
    of `tokenizer`."""
    ids = task.tokenizer.encode([hypothesis])[0]
    n_shown = min(SHOWN, network.context or SHOWN)
    device = next(network.parameters()).device
    tokens, mask = batch["tokens"].to(device), batch["mask"].to(device)
    before = torch.tensor([[task.first(network), *ids][:n_shown]], device=device)
    cache: dict[str, Any] = {"alignment": None}
    network.decode(before, network.encode(tokens, mask), mask, cache)
    source, written = tokens[0, :SHOWN].tolist(), [*ids, task.tokenizer.sep_id][:n_shown]
    return Alignment(pieces(tokenizer, source), pieces(task.tokenizer, written), cache["alignment"][0, :, :SHOWN].cpu())


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What each id stands for: the text of those that have one, the name of the others."""
    names = tokenizer.entries()
    return [tokenizer.decode([id]).strip() or names[id] for id in ids]


def drawn(alignments: Mapping[str, Alignment]) -> Figure:
    """One map below the other: sources from left to right, what was written from top to bottom."""
    sizes = [(len(each.source), len(each.written)) for each in alignments.values()]
    heights = [INCH * n_written + 1.2 for _, n_written in sizes]
    figure = Figure(figsize=(INCH * max(n_read for n_read, _ in sizes) + 2.5, sum(heights)), layout="constrained")
    axes = figure.subplots(len(sizes), height_ratios=heights, squeeze=False)[:, 0]
    known = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FONTS if name in known)]
    for axis, (title, alignment) in zip(axes, alignments.items(), strict=True):
        draw(axis, title, alignment, fonts)
    return figure


def draw(axis: Axes, title: str, alignment: Alignment, fonts: list[str]) -> None:
    axis.imshow(alignment.weights.float().numpy(), cmap="Blues", vmin=0, vmax=1)
    axis.set_anchor("NW")
    axis.set_title(title, loc="left")
    axis.xaxis.tick_top()
    plain: dict[str, Any] = {"fontsize": 8, "fontfamily": fonts, "parse_math": False}  # a "$" is no formula
    axis.set_xticks(range(len(alignment.source)), alignment.source, rotation=90, **plain)
    axis.set_yticks(range(len(alignment.written)), alignment.written, **plain)
