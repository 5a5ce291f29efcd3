"""From token ids to vectors: a table of tokens, and one of frequent n-grams beside it."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmlab.nn.noise import Noise

EMPTY = torch.iinfo(torch.int64).max  # a key of no n-gram, behind all others


class TokenEmbedding(Noise):
    """A vector for each token; in training, whole tokens are blanked at random (Iyyer et al., 2015, section 3.1)."""

    def __init__(self, vocab_size: int, d_model: int, *, token_dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_model)
        self.token_dropout = token_dropout
        nn.init.normal_(self.table.weight, std=0.02)

    @property
    def weight(self) -> Float[Tensor, "V D"]:
        return self.table.weight

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.blank(self.table(tokens))

    def blank(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        if not self.training or not self.token_dropout:
            return x
        return x * (self.uniform(x, x.shape[1]) >= self.token_dropout).unsqueeze(-1).to(x.dtype)


class NgramEmbedding(Noise):
    """A vector for each of the n-grams that are frequent in the training text; all others have none.

    fastText's word n-grams (Joulin et al., 2016) by exact vocabulary instead of by hash, kept at the position where
    they end. Position t sees tokens t-n+1..t alone, so it serves causal decoders too. The vocabulary is counted once
    (`learn`) and belongs to the weights.
    """

    def __init__(
        self, vocab_size: int, d_model: int, orders: Sequence[int], rows: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.keys: Tensor
        if vocab_size ** max(orders) >= 2**63:
            raise ValueError(f"{max(orders)}-grams of {vocab_size} tokens do not fit in 63 bits")
        self.vocab_size, self.d_model, self.orders, self.dropout = vocab_size, d_model, tuple(orders), dropout
        self.tables = nn.ModuleList(nn.Embedding(rows + 1, d_model, padding_idx=0) for _ in self.orders)
        self.register_buffer("keys", torch.full((len(self.orders), rows), EMPTY))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.002)  # type: ignore[arg-type]
            nn.init.zeros_(table.weight[0])  # type: ignore[index]

    @property
    def learned(self) -> bool:
        """Whether it has its vocabulary, as weights of another training bring it."""
        return bool((self.keys < EMPTY).any())

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        states = torch.zeros(*tokens.shape, self.d_model, device=tokens.device)
        length = tokens.shape[1]
        noise = self.uniform(tokens, length * len(self.orders)) if self.training and self.dropout else None
        for number, order in enumerate(self.orders):
            row = self.row(self.key(tokens, order), number)
            if noise is not None:
                row = row * (noise[:, number :: len(self.orders)] >= self.dropout)
            states = states + self.tables[number](row)
        return states / (1 - self.dropout) if self.training else states

    def key(self, tokens: Int[Tensor, "B T"], order: int) -> Int[Tensor, "B T"]:
        """A number for the `order` tokens that end at each position, and for no others; 0 where there are fewer."""
        key = torch.zeros_like(tokens)
        for back in reversed(range(order)):
            key = key * self.vocab_size + nn.functional.pad(tokens, (back, 0))[:, : tokens.shape[1]]
        key[:, : order - 1] = 0
        return key

    def row(self, key: Int[Tensor, "B T"], number: int) -> Int[Tensor, "B T"]:
        """The table row of each key of the order `number`; row 0, which stays zero, for those not in it."""
        keys = self.keys[number]
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == key, place + 1, 0)

    @torch.no_grad()
    def learn(self, batches: Iterable[Tensor], min_count: int) -> None:
        """Fill the vocabulary with the most frequent n-grams of batches (B, T), of at least `min_count`; id 0 pads."""
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.orders]
        for tokens in batches:
            for number, order in enumerate(self.orders):
                inside = tokens != 0
                inside[:, : order - 1] = False
                found[number].append(torch.unique(self.key(tokens, order)[inside], return_counts=True))
        for number, parts in enumerate(found):
            every, where = torch.unique(torch.cat([key for key, _ in parts]), return_inverse=True)
            counts = torch.zeros(len(every), dtype=torch.int64, device=every.device)
            counts.index_add_(0, where, torch.cat([count for _, count in parts]))
            kept = torch.argsort(counts, descending=True, stable=True)[: self.keys.shape[1]]
            kept = every[kept[counts[kept] >= min_count]].sort().values
            self.keys[number, : len(kept)] = kept
