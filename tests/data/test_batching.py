import numpy as np
import pytest

from lmlab.data.batching import BatchOrder, EvaluationOrder, cut
from lmlab.errors import ConfigError

LENGTHS = np.random.default_rng(0).integers(3, 60, 1000)


def order(lengths=LENGTHS, **options) -> BatchOrder:
    return BatchOrder(lengths, **{"batch_tokens": 800, "pool": 4, "seed": 1, **options})


def rows(batches) -> list[int]:
    return sorted(row for batch in batches for row in batch)


def test_order_is_a_function_of_seed_and_epoch_alone():
    one, same = order(), order()
    list(one)  # having been drawn from changes nothing
    for epoch in (0, 3):
        one.set_epoch(epoch)
        same.set_epoch(epoch)
        assert list(one) == list(same)
    assert list(order()) != list(one)  # epoch 0, epoch 3
    assert list(order(seed=2)) != list(order())


def test_every_epoch_has_all_rows_and_the_same_number_of_batches():
    some = order()
    for epoch in range(20):
        batches = some.global_batches(epoch)
        assert rows(batches) == list(range(1000))
        assert len(batches) == some.batches_per_epoch


def test_global_batches_keep_the_budget_and_hold_enough_rows():
    for epoch in range(5):
        for batch in order().global_batches(epoch):
            assert len(batch) * LENGTHS[batch].max() <= 800
            assert len(batch) >= 8


def test_padding_is_small_and_compositions_differ_between_epochs():
    first, second = order(pool=20).global_batches(0), order(pool=20).global_batches(1)
    assert sum(len(batch) * LENGTHS[batch].max() for batch in first) < 1.1 * LENGTHS.sum()
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in second)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("count", [1000, 997, 40, 9])
def test_slices_of_ranks_partition_each_global_batch(world, accumulation, count):
    lengths = LENGTHS[:count]
    shape = {"world": world, "accumulation": accumulation}
    ranks = [list(order(lengths, min_rows=9, rank=rank, **shape)) for rank in range(world)]
    whole = order(lengths, min_rows=9).global_batches(0)
    assert {len(micro) for micro in ranks} == {len(whole) * accumulation}
    for number, batch in enumerate(whole):
        micros = [micro for rank in ranks for micro in rank[number * accumulation : (number + 1) * accumulation]]
        assert all(micros)
        assert rows(micros) == sorted(batch)


def test_started_order_goes_on_where_it_stood():
    whole = list(order(accumulation=2))
    resumed = order(accumulation=2)
    resumed.start = 5
    assert list(resumed) == whole[10:]
    assert list(resumed) == whole  # the next epoch starts at its beginning
    assert len(resumed) == len(whole)


def test_few_rows_make_one_batch():
    assert rows(order(np.array([5, 3, 4])).global_batches(0)) == [0, 1, 2]
    assert len(order(np.array([5, 3, 4]))) == 1


def test_rows_longer_than_the_budget_still_make_batches():
    some = order(np.full(40, 500), batch_tokens=100)
    assert rows(some) == list(range(40))
    assert min(map(len, some)) >= 8


def test_more_processes_than_rows_of_a_batch_are_refused():
    with pytest.raises(ConfigError, match="cannot be shared by 4 processes x 8 accumulated batches"):
        order(world=4, accumulation=8)


def test_plan_of_a_large_corpus_takes_milliseconds(benchmark_seconds=0.1):
    from time import perf_counter

    large = order(np.random.default_rng(1).integers(10, 400, 20_000), batch_tokens=16_384, pool=50)
    begin = perf_counter()
    large.global_batches(7)
    assert perf_counter() - begin < benchmark_seconds


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1000, 3, 20])
def test_evaluation_scores_each_row_once_and_ranks_go_in_step(world, count):
    ranks = [EvaluationOrder(LENGTHS[:count], batch_tokens=500, rank=rank, world=world) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert rows(batch for batches in ranks for batch in batches) == list(range(count))
    assert all(len(batch) * LENGTHS[batch].max() <= 500 for batches in ranks for batch in batches)


def test_evaluation_of_fewer_rows_than_processes_is_refused():
    with pytest.raises(ConfigError, match="2 rows cannot be scored by 3 processes"):
        EvaluationOrder(LENGTHS[:2], batch_tokens=500, world=3)


def test_cut_evens_out_a_scrap():
    assert cut(np.full(19, 10), 160, 8).tolist() == [9, 19]
    assert cut(np.full(17, 10), 160, 8).tolist() == [8, 17]
    assert cut(np.full(10, 10), 90, 8).tolist() == [10]  # too few for two
