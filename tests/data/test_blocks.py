"""Raw text in blocks: every token once, targets that follow, an order that any number of processes shares."""

import numpy as np
import pytest

from lmlab.data.blocks import NONE, BlockEvaluationOrder, BlockOrder, Blocks
from lmlab.data.ragged import Ragged
from lmlab.errors import ConfigError
from lmlab.tokenizer import Tokenizer

SEP = Tokenizer.sep_id


def blocks(*lengths, continues=(), **options) -> Blocks:
    """Texts of these lengths, whose tokens count up from 10."""
    texts = Ragged(np.arange(10, 10 + sum(lengths), dtype=np.uint16), np.cumsum([0, *lengths]))
    goes_on = np.isin(np.arange(len(lengths)), continues)
    return Blocks(
        texts, goes_on, size={"bytes": 5 * sum(lengths), "words": sum(lengths)}, **{"max_length": 8} | options
    )


def test_the_stream_is_texts_with_a_separator_before_each_and_at_the_end():
    some = blocks(3, 0, 2, 4, continues=[3])
    expected = [SEP, 10, 11, 12, SEP, SEP, 13, 14, 15, 16, 17, 18, SEP]
    assert some.stream(np.arange(13)).tolist() == expected and len(some) == 12


def test_tokens_know_their_document_where_documents_are_kept_apart():
    some = blocks(3, 0, 2, 4, continues=[3], separate_documents=True)
    assert some[[0]]["documents"].tolist() == [[1, 1, 1, 1, 2, 3, 3, 3]]
    assert "documents" not in blocks(3, 2)[[0]]


@pytest.mark.parametrize("stride", [None, 8, 3, 1])
@pytest.mark.parametrize("lengths", [(3,), (8,), (40, 1, 17), (1, 1, 1), (7, 8)])
def test_the_evaluated_blocks_score_every_token_once(lengths, stride):
    some = blocks(*lengths, stride=stride)
    batch = some[some.positions().tolist()]
    stream = some.stream(np.arange(len(some) + 1))
    seen = []
    for position, tokens, targets in zip(batch["rows"], batch["tokens"], batch["target"], strict=True):
        for column, target in enumerate(targets.tolist()):
            if target != NONE:
                assert tokens[column] == stream[int(position) + column] and target == stream[int(position) + column + 1]
                seen.append(int(position) + column + 1)
    assert sorted(seen) == list(range(1, len(some) + 1))
    assert batch["bytes"].sum().item() == pytest.approx(5 * sum(lengths))
    assert batch["words"].sum().item() == pytest.approx(sum(lengths))


def test_a_shorter_stride_gives_more_context_and_a_longer_one_is_refused():
    some = blocks(40, stride=2)
    context = (some[some.positions().tolist()]["target"] != NONE).int().argmax(1)
    assert context.tolist() == [0] + [6] * (len(context) - 1)
    with pytest.raises(ConfigError, match="stride=9"):
        blocks(40, stride=9)


@pytest.mark.parametrize("lanes", [False, True])
def test_any_number_of_processes_and_micro_batches_shares_the_global_batches(lanes):
    def order(**options):
        return BlockOrder(1000, max_length=10, batch_tokens=120, seed=3, lanes=lanes, **options)

    whole = order()
    batches = [sorted(batch) for batch in whole]
    assert len(batches) == whole.batches_per_epoch == 8 and all(len(batch) == 12 for batch in batches)
    parts = [list(order(rank=rank, world=2, accumulation=3)) for rank in range(2)]
    for number, batch in enumerate(batches):
        micro = [part for rank in parts for part in rank[3 * number : 3 * number + 3]]
        assert sorted(position for part in micro for position in part) == batch
    resumed = order()
    resumed.start = 5
    assert [sorted(batch) for batch in resumed] == batches[5:]


def test_epochs_differ_and_no_block_is_drawn_twice():
    order = BlockOrder(1000, max_length=10, batch_tokens=100, seed=3)
    first, second = order.global_batches(0), order.global_batches(1)
    assert len(np.unique(first)) == first.size and first.max() + 10 <= 1000
    assert set(first[0] % 10) != set(second[0] % 10) or (first != second).any()


def test_lanes_go_on_where_they_ended():
    batches = BlockOrder(1000, max_length=10, batch_tokens=120, seed=3, lanes=True).global_batches(0)
    assert (np.diff(batches, axis=0) == 10).all()


def test_rows_that_processes_cannot_share_are_refused_with_a_size_that_they_can():
    with pytest.raises(ConfigError, match="data.batch_tokens=30"):
        BlockOrder(1000, max_length=10, batch_tokens=25, seed=1, world=3)


@pytest.mark.parametrize(("count", "rows", "world"), [(7, 3, 2), (5, 1, 2), (12, 4, 3), (2, 8, 2), (1, 8, 1)])
def test_each_evaluated_block_belongs_to_one_rank_and_all_have_as_many_batches(count, rows, world):
    positions = np.arange(count) * 10
    orders = [list(BlockEvaluationOrder(positions, rows=rows, rank=rank, world=world)) for rank in range(world)]
    assert len({len(order) for order in orders}) == 1 and all(batch for order in orders for batch in order)
    assert sorted(position for order in orders for batch in order for position in batch) == positions.tolist()
