"""How well queries find documents by their vectors: recall, reciprocal rank and nDCG over a whole split."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

DEPTH = 10  # documents of a ranking that are looked at
AT_ONCE = 2**24  # cosines held at one time


class Texts:
    """All distinct queries and documents of a split, and which document answers which query.

    No tuple, in which torchmetrics would make a number of a tensor of one.
    """

    def __init__(
        self,
        queries: Float[Tensor, "Q D"],
        documents: Float[Tensor, "M D"],
        asked: Int[Tensor, "Q"],  # the number of each query's text
        known: Int[Tensor, "M"],  # and of each document's: the same where the same text stands
        relevant: Int[Tensor, "P 2"],  # rows of `queries` and of `documents`
    ) -> None:
        self.queries, self.documents = queries, documents
        self.asked, self.known, self.relevant = asked, known, relevant


class Block(NamedTuple):
    """Some queries beside all documents."""

    first: int  # the first of these queries
    cosines: Float[Tensor, "B M"]
    relevant: Bool[Tensor, "B M"]
    other: Bool[Tensor, "B M"]  # neither an answer nor the query itself


class Vectors(Metric):
    """Vectors of the texts of all rows of all ranks: any document may be nearest, so all are kept, 4 bytes a number."""

    full_state_update = False
    queries: list[Tensor]
    documents: list[Tensor]
    asked: list[Tensor]
    known: list[Tensor]
    pairs: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("queries", "documents", "asked", "known", "pairs"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, sides: list[Tensor], contents: Tensor) -> None:
        """Vectors of the queries, of their documents and, where there are some, of documents that are no answers; a
        number for each text (B, sides)."""
        queries, *documents = sides
        self.queries.append(queries)
        self.documents.append(torch.cat(documents))
        self.asked.append(contents[:, 0].contiguous())
        self.known.append(contents[:, 1:].T.flatten())
        self.pairs.append(contents[:, :2].contiguous())

    def compute(self) -> Texts:
        asked, query_rows = distinct(dim_zero_cat(self.asked))
        known, document_rows = distinct(dim_zero_cat(self.known))
        pairs = dim_zero_cat(self.pairs).unique(dim=0)
        relevant = torch.stack(
            (torch.searchsorted(asked, pairs[:, 0].contiguous()), torch.searchsorted(known, pairs[:, 1].contiguous())),
            dim=1,
        )
        queries, documents = dim_zero_cat(self.queries)[query_rows], dim_zero_cat(self.documents)[document_rows]
        return Texts(queries, documents, asked, known, relevant)


def distinct(numbers: Int[Tensor, "N"]) -> tuple[Int[Tensor, "K"], Int[Tensor, "K"]]:
    """(the numbers in order, where each stands first)."""
    found, place = numbers.unique(return_inverse=True)
    first = torch.full_like(found, len(numbers))
    return found, first.scatter_reduce(0, place, torch.arange(len(numbers), device=numbers.device), "amin")


def blocks(texts: Texts, width: int | None = None) -> Iterator[Block]:
    """All queries with all documents, a few at a time, by the first `width` numbers of their vectors."""
    queries, documents = (normalize(side[:, :width].float(), dim=1) for side in (texts.queries, texts.documents))
    size = max(1, AT_ONCE // len(documents))
    for first in range(0, len(queries), size):
        cosines = queries[first : first + size] @ documents.T
        relevant = torch.zeros_like(cosines, dtype=torch.bool)
        query, document = texts.relevant.T
        here = (query >= first) & (query < first + size)
        relevant[query[here] - first, document[here]] = True
        itself = texts.asked[first : first + size, None] == texts.known
        yield Block(first, cosines, relevant, ~(relevant | itself))


def hits(texts: Texts, width: int | None = None) -> tuple[Bool[Tensor, "Q 10"], Int[Tensor, "Q"]]:
    """(whether the n-th nearest document of each query answers it, how many do); a query does not find itself."""
    found, counts = [], []
    for block in blocks(texts, width):
        cosines = block.cosines.masked_fill(~(block.relevant | block.other), -torch.inf)
        nearest = cosines.topk(min(DEPTH, cosines.shape[1]), dim=1).indices
        answered = block.relevant.gather(1, nearest)
        found.append(pad(answered, (0, DEPTH - answered.shape[1])))
        counts.append(block.relevant.sum(1))
    return torch.cat(found), torch.cat(counts)


def measures(hits: Bool[Tensor, "Q 10"], n_relevant: Int[Tensor, "Q"]) -> dict[str, float]:
    """Means over the queries (Manning et al., 2008, chapter 8; nDCG: Järvelin and Kekäläinen, 2002, log2)."""
    found, ranks = hits.double(), torch.arange(1, DEPTH + 1, device=hits.device)
    gains = 1 / (ranks + 1).double().log2()
    best = gains.cumsum(0)[n_relevant.clamp(max=DEPTH) - 1]  # of a ranking that begins with all answers
    told = {f"recall_{k}": found[:, :k].sum(1) / n_relevant for k in (1, 5, 10)}
    told |= {"mrr_10": (found / ranks).amax(1), "ndcg_10": (found * gains).sum(1) / best}
    return {name: values.mean().item() for name, values in told.items()}
