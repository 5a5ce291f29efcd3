"""Pairs of words that stand together far more often than by chance, as entries (Mikolov et al., 2013b, section 4)."""

from collections.abc import Sequence

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Pipeline

DISCOUNT = 5  # of how often a pair is counted: rare pairs of rare words are no phrases


def learn_phrases(pipeline: Pipeline, texts: Sequence[str], most: int, ordinary: int) -> None:
    """Add the `most` pairs of the highest (count(ab) - 5) / (count(a) count(b)) to a vocabulary of words (equation 6).

    Ids below `ordinary` are no words, nor is what has no letter. A pair is found in a text where one blank is between.
    """
    size = pipeline.get_vocab_size()
    streams = (encoding.ids for encoding in pipeline.encode_batch_fast(texts, add_special_tokens=False))
    ids = np.concatenate([np.array([*stream, 0], np.int64) for stream in streams])  # 0 between the texts
    is_word = np.array([any(map(str.isalpha, str(pipeline.id_to_token(id)))) for id in range(size)])
    is_word[:ordinary] = False
    counts = np.bincount(ids, minlength=size)
    inside = is_word[ids[:-1]] & is_word[ids[1:]]
    pairs, found = np.unique((ids[:-1] * size + ids[1:])[inside], return_counts=True)
    pairs, found = pairs[found > DISCOUNT], found[found > DISCOUNT]
    first, second = pairs // size, pairs % size
    score = (found - DISCOUNT) / counts[first] / counts[second]
    best = np.argsort(-score, kind="stable")[:most]
    pipeline.add_tokens(
        [
            AddedToken(f"{pipeline.id_to_token(one)} {pipeline.id_to_token(other)}", single_word=True)
            for one, other in zip(first[best].tolist(), second[best].tolist(), strict=True)
        ]
    )
