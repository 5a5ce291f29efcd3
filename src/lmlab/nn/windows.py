"""The words of a stream beside their neighbours, as matrices: pieces of it, and which pairs of words are near."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Windows(NamedTuple):
    """K pieces of C words, each with the W words before and behind it."""

    centres: Int[Tensor, "K C"]
    around: Int[Tensor, "K L"]  # L = W + C + W: the centres among them; any word where there is none
    near: Bool[Tensor, "K C L"]  # whether the second is a neighbour of the first: in its window, in its document


def windows(
    words: Int[Tensor, "M"], documents: Int[Tensor, "M"], reach: int, size: int, dynamic: bool = True
) -> Windows:
    """A stream in pieces of `size` words; a window reaches `reach` words to each side.

    With `dynamic` each reaches 1 to `reach` words, all as likely: the nearer a word, the more often it is a neighbour
    (Mikolov et al., 2013a, section 3.2).
    """
    n_pieces = -(-len(words) // size)
    behind = n_pieces * size - len(words) + reach
    spread = size + 2 * reach
    around = torch.nn.functional.pad(words, (reach, behind)).unfold(0, spread, size)
    document = torch.nn.functional.pad(documents, (reach, behind), value=-1).unfold(0, spread, size)
    of_centre = document[:, reach : reach + size].unsqueeze(2)
    distance = (
        torch.arange(spread, device=words.device) - torch.arange(reach, reach + size, device=words.device)[:, None]
    )
    radius = torch.full((n_pieces, size, 1), reach, device=words.device)
    if dynamic:
        radius = torch.randint(1, reach + 1, radius.shape, device=words.device)
    near = (distance.abs() <= radius) & (distance != 0) & (document.unsqueeze(1) == of_centre) & (of_centre >= 0)
    return Windows(around[:, reach : reach + size], around, near)
