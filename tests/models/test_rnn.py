"""Properties that any recurrent network has, and the state that goes on from batch to batch and from run to run."""

import functools

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lmlab.callbacks.checkpoints import Checkpoints
from lmlab.checkpointing import WholeCheckpoints
from lmlab.data.corpus import Corpus
from lmlab.errors import ConfigError
from lmlab.models.rnn import STATE, Recurrent, RecurrentModule
from lmlab.optimizers import constant
from lmlab.tasks.causal_lm import CausalLM
from lmlab.tokenizer import Tokenizer

VOCAB = 50
CELLS = ("rnn", "lstm", "gru")


def tiny(architecture="encoder", **changes):
    sizes = {"d_model": 16, "n_layers": 2, "dropout": 0.0}
    network = Recurrent(VOCAB, architecture=architecture, **(sizes | changes)).eval()
    if network.ngrams is not None:
        network.ngrams.learn([texts(40, 20)], min_count=1)
    return network


def texts(batch=3, length=10):
    return torch.randint(5, VOCAB, (batch, length))


VARIANTS = [*({"cell": cell} for cell in CELLS), {"d_embedding": 6, "ngram_orders": (2, 3), "ngram_rows": 64}]
READERS = [{"pooling": "mean"}, {"pooling": "last"}, {"pooling": "last", "bidirectional": False}]


@pytest.mark.parametrize("variant", VARIANTS + READERS)
def test_padding_changes_nothing(variant):
    network, tokens = tiny(**variant), texts()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 7:] = False
    padded = torch.cat((tokens, torch.zeros(3, 6, dtype=torch.int64)), dim=1)
    padded[1, 7:] = 9
    padded_mask = torch.cat((mask, torch.zeros(3, 6, dtype=torch.bool)), dim=1)
    alone, beside = network.encode(tokens, mask), network.encode(padded, padded_mask)
    torch.testing.assert_close(alone[mask], beside[padded_mask])
    torch.testing.assert_close(network.pool(alone, mask), network.pool(beside, padded_mask))


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_encoder_sees_both_sides_and_a_decoder_only_the_past(variant):
    tokens = texts()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] - 5 + 1) % (VOCAB - 5) + 5
    mask = torch.ones_like(tokens, dtype=torch.bool)
    encoder = tiny(**variant)
    assert not torch.allclose(encoder.encode(tokens, mask)[:, 0], encoder.encode(changed, mask)[:, 0])
    decoder = tiny("decoder", **variant)
    before, after = decoder.decode(tokens), decoder.decode(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cached_decoder_equals_one_that_reads_all_again(variant):
    decoder, tokens, cache = tiny("decoder", **variant), texts(), {}
    parts = [decoder.decode(tokens[:, :4], cache=cache)]
    parts += [decoder.decode(tokens[:, t : t + 1], cache=cache) for t in range(4, 10)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder.decode(tokens))


def test_output_weights_are_the_embeddings_of_any_width():
    tied, narrow, untied = tiny("decoder"), tiny("decoder", d_embedding=6), tiny("decoder", tie_weights=False)
    assert tied.output.weight is tied.embedding.weight
    assert narrow.output[1].weight is narrow.embedding.weight
    assert untied.output.weight is not untied.embedding.weight
    assert narrow.logits(narrow.decode(texts())).shape == (3, 10, VOCAB)


@pytest.mark.parametrize(
    ("architecture", "method"), [("decoder", "encode"), ("encoder", "decode"), ("encoder", "logits")]
)
def test_a_missing_side_says_so(architecture, method):
    network, tokens = tiny(architecture), texts()
    arguments = {
        "encode": (tokens, torch.ones_like(tokens, dtype=torch.bool)),
        "decode": (tokens,),
        "logits": (torch.zeros(1, 2, 16),),
    }
    with pytest.raises(NotImplementedError, match="Recurrent has no"):
        getattr(network, method)(*arguments[method])


def test_two_directions_need_an_even_width():
    with pytest.raises(ConfigError, match="cannot be halved"):
        tiny(d_model=17)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_flow_and_one_batch_can_be_overfitted(variant):
    network, tokens = tiny("decoder", **variant).train(), texts(4, 12)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        states = network.decode(tokens[:, :-1])
        loss = network.losses(states.flatten(0, 1), tokens[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
    learning = [p for name, p in network.named_parameters() if "ngrams" not in name]  # none of these is frequent
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning)
    assert loss < 0.5


# truncated back-propagation through time


class Recorder(Callback):
    """Each step's loss, and each validation's."""

    def __init__(self):
        self.steps, self.validations = {}, {}

    def on_train_batch_end(self, trainer, *_):
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self.steps[trainer.global_step] = trainer.callback_metrics["train/loss"].item()

    def on_validation_end(self, trainer, module):
        self.validations[trainer.global_step] = trainer.callback_metrics["val/loss"].item()


@pytest.fixture
def play(tmp_path):
    file = tmp_path / "play.txt"
    file.write_text("".join(f"line {n * n} of the play, {n % 7} words\n" for n in range(40)), encoding="utf-8")
    return file


def trained(play, folder, *, resume=None, accumulate=1, lanes=True, dropout=0.2):
    torch.manual_seed(1)
    data = Corpus(
        tokenizer=Tokenizer("char", 64, min_frequency=1),
        cache=play.parent / "cache",
        path=play,
        label_column=None,
        batches="blocks",
        max_length=8,
        batch_tokens=64,
        eval_batch_tokens=24,
        lanes=lanes,
    )
    data.prepare()
    network = Recurrent(
        64, 12, architecture="decoder", n_layers=2, dropout=dropout, weight_dropout=dropout, token_dropout=dropout
    )
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    module = RecurrentModule(network, CausalLM(), optimizer=optimizer, scheduler=constant)
    recorder, keep = Recorder(), Checkpoints(folder, "val/loss", "min", keep_last=99, every_n_steps=1)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=6 * accumulate,
        limit_val_batches=3,
        callbacks=[recorder, keep],
        plugins=[WholeCheckpoints()],
        accumulate_grad_batches=accumulate,
        use_distributed_sampler=False,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    return recorder, module, keep


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_training_goes_on_from_the_state_bit_for_bit(play, tmp_path, accumulate):
    whole, module, keep = trained(play, tmp_path / "whole", accumulate=accumulate)
    weights = module.state_dict()
    assert len(whole.steps) == 12 and not any("states" in name for name in weights)
    for name in keep.kept:
        step = int(name[5:13])
        rest, found, _ = trained(play, tmp_path / name, resume=tmp_path / "whole" / name, accumulate=accumulate)
        assert rest.steps == {at: loss for at, loss in whole.steps.items() if at > step}, name
        assert all(torch.equal(tensor, weights[key]) for key, tensor in found.state_dict().items()), name


@pytest.mark.filterwarnings("ignore")
def test_states_are_kept_by_the_rows_of_a_global_batch_however_it_is_cut(play, tmp_path):
    one, _, keep = trained(play, tmp_path / "one")
    two, _, _ = trained(play, tmp_path / "two", accumulate=2)
    assert two.steps == pytest.approx(one.steps, abs=1e-5)
    name = keep.kept[2]
    states = [torch.load(tmp_path / cut / name, weights_only=True)[STATE] for cut in ("one", "two")]
    assert states[0].shape == (8, 2, 2, 12) and states[0].abs().min() > 0
    torch.testing.assert_close(*states, atol=1e-5, rtol=1e-4)
    rest, _, _ = trained(play, tmp_path / "rest", accumulate=2, resume=tmp_path / "one" / name)
    assert rest.steps == pytest.approx({at: loss for at, loss in one.steps.items() if at in rest.steps}, abs=1e-5)
    assert len(rest.steps) == 12 - int(name[5:13])


@pytest.mark.filterwarnings("ignore")
def test_a_batch_starts_from_the_states_in_which_the_one_before_it_ended(play, tmp_path):
    recorder, module, keep = trained(play, tmp_path, dropout=0.0)
    corpus, network, task = module.trainer.datamodule, module.network.eval(), CausalLM()
    for name in keep.kept:
        step = int(name[5:13])
        epoch, number = divmod(step, corpus.order.batches_per_epoch)
        if not number or step + 1 not in recorder.steps:
            continue
        checkpoint = torch.load(tmp_path / name, weights_only=True)
        module.load_state_dict(checkpoint["state_dict"])
        batch = corpus.datasets["train"][corpus.order.global_batches(epoch)[number].tolist()]
        with torch.no_grad():
            cold, warm = (task.loss(network, batch | more) for more in ({}, {"cache": {"state": checkpoint[STATE]}}))
        assert recorder.steps[step + 1] == pytest.approx((warm[0] / warm[1]).item(), abs=1e-5)
        assert recorder.steps[step + 1] != pytest.approx((cold[0] / cold[1]).item(), abs=1e-5)
        return
    pytest.fail("no checkpoint lies inside an epoch")
