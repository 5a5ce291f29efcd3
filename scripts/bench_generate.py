"""Speed of writing beside `transformers`: networks of GPT-2 shape with random weights, greedy and cached, in turns.

    python scripts/bench_generate.py --rounds 3

Ours is lmlab.models.transformer.Transformer of that shape (12 layers, 768 wide, 12 heads, 50257 tokens, learned
positions), theirs GPT2LMHeadModel.generate; no text ends early. Printed: new tokens a second and their ratio.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch  # noqa: E402

VOCAB = 50257


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="texts side by side")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens written after it")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    sides = {"lmlab": lmlab_side(arguments), "transformers": transformers_side(arguments)}
    for batch in arguments.batches:
        prompts = torch.randint(5, VOCAB, (batch, arguments.prompt), generator=torch.Generator().manual_seed(0))
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(arguments.rounds + 1):
            for name in (*sides,) if turn % 2 else reversed((*sides,)):
                speed = batch * arguments.new / seconds(sides[name], prompts, batch * arguments.new)
                if turn:  # the first warms up
                    speeds[name].append(speed)
        ours, theirs = (median(speeds[name]) for name in ("lmlab", "transformers"))
        each = ", ".join(f"{a / b:.2f}" for a, b in zip(speeds["lmlab"], speeds["transformers"], strict=True))
        print(
            f"batch {batch}: lmlab {ours:.1f} tokens/s, transformers {theirs:.1f} tokens/s, "
            f"ratio {ours / theirs:.2f} (each round: {each})",
            flush=True,
        )


def seconds(write: Callable[[torch.Tensor], int], prompts: torch.Tensor, expected: int) -> float:
    started = time.perf_counter()
    written = write(prompts)
    assert written == expected, f"{written} tokens instead of {expected}"
    return time.perf_counter() - started


def lmlab_side(arguments: argparse.Namespace) -> Callable[[torch.Tensor], int]:
    from lmlab.generate import continuations
    from lmlab.models.transformer import Transformer

    sizes = {"n_heads": 12, "n_layers": arguments.layers, "d_ff": 3072, "max_length": 1024}
    network = Transformer(VOCAB, 768, architecture="decoder", **sizes).eval().to(arguments.device)

    def write(prompts: torch.Tensor) -> int:
        options = {"vocabulary": VOCAB, "max_new_tokens": arguments.new, "temperature": 0, "stop": ()}
        return sum(map(len, continuations(network, prompts.tolist(), **options)))

    return write


def transformers_side(arguments: argparse.Namespace) -> Callable[[torch.Tensor], int]:
    from transformers import GPT2Config, GPT2LMHeadModel

    network = GPT2LMHeadModel(GPT2Config(n_layer=arguments.layers)).eval().to(arguments.device)
    network.generation_config.eos_token_id = None

    def write(prompts: torch.Tensor) -> int:
        prompts = prompts.to(arguments.device)
        with torch.inference_mode():
            whole = network.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=False,
                max_new_tokens=arguments.new,
                pad_token_id=0,
                use_cache=True,
            )
        return whole[:, prompts.shape[1] :].numel()

    return write


if __name__ == "__main__":
    main()
