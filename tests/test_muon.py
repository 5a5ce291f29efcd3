"""Muon: torch's own on hidden matrices, torch's AdamW on all else, and which are which."""

import io

import pytest
import torch

from lmlab.models.gpt2 import GPT2
from lmlab.models.rnn import Recurrent
from lmlab.models.transformer import Transformer
from lmlab.muon import Muon, orthogonal
from lmlab.optimizers import parameter_groups
from lmlab.tasks.classification import Classification

SETTINGS = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.98)}
FAMILIES = {
    "tied": lambda: Transformer(30, 8, architecture="decoder", max_length=12, n_heads=2, n_layers=1, ngram_orders=[2]),
    "untied": lambda: Transformer(
        30, 8, architecture="decoder", max_length=12, n_heads=2, n_layers=1, activation="swiglu", tie_weights=False
    ),
    "gpt2": lambda: GPT2(30, 8, max_length=12, n_heads=2, n_layers=1),
    "lstm": lambda: Recurrent(30, 8, architecture="encoder", bidirectional=True),
    "gru": lambda: Recurrent(30, 8, architecture="decoder", cell="gru", d_embedding=4),
}
LAYER = "decoder.layers.0."
ATTENTION = {f"{LAYER}attention.qkv.weight": 3, f"{LAYER}attention.output.weight": 1}
FEED_FORWARD = {f"{LAYER}feed_forward.0.weight": 1, f"{LAYER}feed_forward.2.weight": 1}
HIDDEN = {
    "tied": ATTENTION | FEED_FORWARD,
    "untied": ATTENTION | {f"{LAYER}feed_forward.gated.weight": 2, f"{LAYER}feed_forward.output.weight": 1},
    "gpt2": ATTENTION | FEED_FORWARD,
    "lstm": {
        **{f"stack.layers.0.cells.weight_{of}_l0{way}": 4 for of in ("ih", "hh") for way in ("", "_reverse")},
        "attention.hidden.weight": 1,
    },
    "gru": {f"stack.layers.0.cells.weight_{of}_l0": 3 for of in ("ih", "hh")},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_positions_outputs_and_heads_are_no_hidden_matrices(family):
    network, task = FAMILIES[family](), Classification(8, ["no", "yes"])
    optimizer = Muon(parameter_groups((network, task)), matrix_lr=0.02, **SETTINGS)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    hidden = optimizer.param_groups[-1]
    assert {names[id(p)]: n for p, n in zip(hidden["params"], hidden["maps"], strict=True)} == HIDDEN[family]
    every = [id(p) for group in optimizer.param_groups for p in group["params"]]
    expected = [id(p) for module in (network, task) for p in module.parameters()]
    assert sorted(every) == sorted(expected)


def groups(matrix, n_maps, other):
    matrices = {"params": [matrix, other], "maps": [n_maps, 0]}
    return [{"params": []}, matrices, {"params": [torch.nn.Parameter(torch.ones(3))], "weight_decay": 0.0}]


def moved(optimizers, parameters, steps=5):
    """The parameters after some steps down fixed gradients."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("shape", [(6, 6), (12, 4), (4, 12)])
def test_hidden_matrices_move_as_under_torchs_muon_and_others_as_under_its_adamw(shape):
    start = torch.randn(shape), torch.randn(5, 2)
    ours, theirs = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    mine = Muon(groups(ours[0], 1, ours[1]), matrix_lr=0.02, **SETTINGS)
    reference = [
        torch.optim.Muon([theirs[0]], lr=0.02, weight_decay=0.1, momentum=0.95),
        torch.optim.AdamW([theirs[1]], **SETTINGS),
    ]
    found, expected = moved([mine], ours), moved(reference, theirs)
    torch.testing.assert_close(found[0], expected[0], atol=2e-3, rtol=0)  # theirs iterates in bfloat16
    assert (found[0] - start[0]).abs().max() > 0.03
    torch.testing.assert_close(found[1], expected[1])


def test_a_matrix_of_three_maps_moves_as_three_matrices():
    start = torch.randn(12, 4)
    whole, other = torch.nn.Parameter(start.clone()), torch.nn.Parameter(torch.ones(2, 2))
    parts = [torch.nn.Parameter(part.clone()) for part in start.chunk(3)]
    apart = [Muon(groups(part, 1, torch.nn.Parameter(torch.ones(2, 2))), matrix_lr=0.02, **SETTINGS) for part in parts]
    one = Muon(groups(whole, 3, other), matrix_lr=0.02, **SETTINGS)
    found, expected = moved([one], [whole])[0], torch.cat(moved(apart, parts))
    torch.testing.assert_close(found, expected)


def test_singular_values_end_near_one_and_directions_stay():
    left, values, right = torch.linalg.svd(torch.randn(2, 10, 6), full_matrices=False)
    maps = left @ torch.diag_embed(values) @ right
    turned = left.mT @ orthogonal(maps) @ right.mT
    assert ((torch.linalg.svdvals(turned) - 0.95).abs() < 0.3).all()
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_it_goes_on_from_a_file_exactly_and_the_schedule_scales_both_rates():
    start = torch.randn(4, 4), torch.randn(3, 3)
    whole, cut = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    first, second = (Muon(groups(mine[0], 1, mine[1]), matrix_lr=0.02, **SETTINGS) for mine in (whole, cut))
    moved([first], whole)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for mine, parameter in zip(whole, cut, strict=True):
        parameter.data.copy_(mine.data)
    assert all(torch.equal(*tensors) for tensors in zip(moved([first], whole), moved([second], cut), strict=True))
    schedule = torch.optim.lr_scheduler.LambdaLR(second, lambda step: 0.5)
    assert schedule.get_last_lr() == pytest.approx([5e-4, 5e-4, 5e-4, 1e-2])
