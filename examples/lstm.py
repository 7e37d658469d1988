"""A recurrent network learns to write: long short-term memory, character by character.

`python -m examples.lstm` reads what Python says of its own builtins, and then writes such a text. The network is
`lstm.idx`: a block, `for t:`, of which the derivative is printed first. What needs no state, as the products behind the
states and the gradients by weights, stands outside of the block there, and is computed for all steps at once.
"""

from __future__ import annotations

import argparse
import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang

Array = NDArray[Any]

LAYERS = indexlang.load(Path(__file__).with_name("lstm.idx"))
WEIGHTS = ("W", "U", "bias", "O", "o")


def builtin_texts() -> str:
    """What Python tells of its builtins."""
    told = (getattr(one, "__doc__", None) for _, one in sorted(vars(builtins).items()))
    return "\n\n".join(dict.fromkeys(text.strip() for text in told if isinstance(text, str)))


def start(characters: int, hidden: int, rng: np.random.Generator) -> dict[str, Array]:
    """The first weights; gates begin by keeping what they have."""
    shapes = {"W": (characters, 4, hidden), "U": (hidden, 4, hidden), "O": (hidden, characters)}
    weights = {n: (rng.standard_normal(s) / np.sqrt(hidden)).astype(np.float32) for n, s in shapes.items()}
    bias = np.zeros((4, hidden), np.float32)
    bias[1] = 1
    return weights | {"bias": bias, "o": np.zeros(characters, np.float32)}


def adam(weights: dict[str, Array], gradients: dict[str, Array], memory: dict[str, Any], rate: float) -> None:
    """A step of Adam, in place, with gradients that are at most 1 long."""
    length = np.sqrt(sum(float(np.sum(g * g)) for g in gradients.values()))
    memory["steps"] = number = memory.get("steps", 0) + 1
    for name, gradient in gradients.items():
        g = gradient * min(1.0, 1 / length)
        m, v = memory.setdefault(name, (np.zeros_like(g), np.zeros_like(g)))
        memory[name] = m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        weights[name] -= rate * (m / (1 - 0.9**number)) / (np.sqrt(v / (1 - 0.99**number)) + 1e-8)


def write(weights: dict[str, Array], first: Array, count: int, heat: float, rng: np.random.Generator) -> list[int]:
    """Go on from some characters: what was drawn last is read next, and the state of the last step goes on."""
    hidden = weights["U"].shape[0]
    h = c = np.zeros((1, 1, hidden), np.float32)
    read, drawn = first, list(map(int, first))
    for _ in range(count):
        found = LAYERS.read(text=read[None], h0=h[-1], c0=c[-1], **weights)
        h, c, s = found["h"], found["c"], found["s"][-1, 0].astype(np.float64) / heat
        chances = np.exp(s - s.max())
        drawn.append(int(rng.choice(len(s), p=chances / chances.sum())))
        read = np.array(drawn[-1:])
    return drawn


def main(argv: list[str] | None = None) -> int:
    """Learn, print how the loss falls, and write."""
    parser = argparse.ArgumentParser(prog="examples.lstm", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64, help="characters that a gradient goes back")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--heat", type=float, default=0.5, help="how bold the writing is")
    parser.add_argument("--count", type=int, default=400, help="characters to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    print(LAYERS.learn.grad(WEIGHTS))
    rng = np.random.default_rng(args.seed)
    text = builtin_texts()
    letters, numbers = np.unique(list(text), return_inverse=True)
    print(f"{len(text)} characters, {len(letters)} different ones")
    weights, memory = start(len(letters), args.hidden, rng), {}  # type: tuple[dict[str, Array], dict[str, Any]]
    state = np.zeros((args.batch, args.hidden), np.float32)
    loss = np.log(len(letters))
    for number in range(args.steps + 1):
        at = rng.integers(0, len(text) - args.length - 1, (args.batch, 1)) + np.arange(args.length + 1)
        given = {"text": numbers[at[:, :-1]], "next": numbers[at[:, 1:]], "h0": state, "c0": state}
        value, gradients = LAYERS.learn.value_and_grad(given | weights, wrt=WEIGHTS)
        loss = loss if number == 0 else 0.9 * loss + 0.1 * float(value)
        if number % max(1, args.steps // 8) == 0:
            print(f"step {number:4d}: {loss / np.log(2):.2f} bits a character")
        adam(weights, gradients, memory, args.rate * (1 - number / (args.steps + 1)))
    print("".join(letters[write(weights, numbers[: args.length], args.count, args.heat, rng)[args.length :]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
