"""Speed of writing beside `transformers`: GPT-2 small with the same random weights, greedy and cached, in turns.

    python scripts/bench_generate.py --rounds 3

Ours is lmlab.models.gpt2.GPT2 with the weights of theirs, GPT2LMHeadModel, whose `generate` uses its cache; no text
ends early. With random weights a text repeats itself, so guessing ahead shows the most it can gain, and `--lookup 0`
what is left without. Printed: new tokens a second, their ratio, and how many of the texts are equal token for token.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from lmlab.generate import continuations  # noqa: E402
from lmlab.models.gpt2 import GPT2  # noqa: E402
from lmlab.sampling import NEVER  # noqa: E402

VOCAB = 50257
Side = Callable[[torch.Tensor], list[list[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="texts side by side")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens written after it")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--lookup", type=int, default=16, help="tokens guessed ahead for a text alone; 0: none")
    parser.add_argument("--both-guess", action="store_true", help="let transformers guess as many ahead, too")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(n_layer=arguments.layers)).eval()
    sides = {"lmlab": lmlab_side(theirs, arguments), "transformers": transformers_side(theirs, arguments)}
    for batch in arguments.batches:
        compare(sides, batch, arguments)


def compare(sides: dict[str, Side], batch: int, arguments: argparse.Namespace) -> None:
    prompts = torch.randint(5, VOCAB, (batch, arguments.prompt), generator=torch.Generator().manual_seed(0))
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    written = {}
    for turn in range(arguments.rounds + 1):
        for name in (*sides,) if turn % 2 else reversed((*sides,)):
            started = time.perf_counter()
            written[name] = sides[name](prompts)
            if turn:  # the first warms up
                speeds[name].append(batch * arguments.new / (time.perf_counter() - started))
    equal = sum(one == other for one, other in zip(*written.values(), strict=True))
    ours, theirs = (median(speeds[name]) for name in sides)
    each = ", ".join(f"{a / b:.2f}" for a, b in zip(*speeds.values(), strict=True))
    print(
        f"batch {batch}: lmlab {ours:.1f} tokens/s, transformers {theirs:.1f} tokens/s, ratio {ours / theirs:.2f} "
        f"(each round: {each}); {equal} of {batch} texts equal token for token",
        flush=True,
    )


def lmlab_side(theirs: GPT2LMHeadModel, arguments: argparse.Namespace) -> Side:
    network = GPT2(VOCAB, n_layers=arguments.layers).eval()
    network.load_state_dict(network.published.to_ours(theirs.state_dict(), network.state_dict())[0])
    network.to(arguments.device)
    options = {"vocabulary": VOCAB, "max_new_tokens": arguments.new, "temperature": 0, "stop": ()}
    options["lookup"] = arguments.lookup
    return lambda prompts: continuations(network, prompts.tolist(), **options)


def transformers_side(theirs: GPT2LMHeadModel, arguments: argparse.Namespace) -> Side:
    theirs.to(arguments.device)
    theirs.generation_config.eos_token_id = None

    def write(prompts: torch.Tensor) -> list[list[int]]:
        prompts = prompts.to(arguments.device)
        with torch.inference_mode():
            whole = theirs.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=False,
                max_new_tokens=arguments.new,
                pad_token_id=0,
                suppress_tokens=list(NEVER),
                use_cache=True,
                prompt_lookup_num_tokens=arguments.lookup if arguments.both_guess and len(prompts) == 1 else None,
            )
        return whole[:, prompts.shape[1] :].tolist()

    return write


if __name__ == "__main__":
    main()
