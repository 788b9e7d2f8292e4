"""What a search costs on this GPU: `python -m benchmarks.gpu`, under 8 minutes on one card.

Runs the tests that need a GPU; then children an hour at several batch sizes and numbers of children side by side, with
the GPU-hours of the paper's own search (12,800 children of 50 epochs on 45,000 images, of a network of six layers all
along: the deeper ones of its end cost more); then how many tokens a second a recurrent child reads. Writes
build/gpu.json. Without a GPU it says so, and does nothing.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.child import Child, images_a_second
from benchmarks.rnn import RECIPE, SHAPE, WORDS
from rlnas.children.language import LanguageTrainer, Network, _LanguageRun
from rlnas.children.precision import device_class, products
from rlnas.children.recording import Recording
from rlnas.spaces.rnn import LSTM

OUT = Path("build/gpu.json")
BATCHES, SIDE_BY_SIDE = (128, 512), (1, 4, 8, 16)
CHILDREN, EPOCHS, IMAGES = 12_800, 50, 45_000
TESTS_SECONDS = 180


def children_an_hour(device: str, batch: int, at_once: int, seconds: float) -> float:
    """Train children side by side for some seconds; returns how many of the paper's trainings that makes an hour."""
    children = [Child(1, None, "bfloat16", device, batch) for _ in range(at_once)]
    try:
        for child in children:
            child.wait()
        images_a_second(children, seconds / 2)
        return 3600 * images_a_second(children, seconds) / (EPOCHS * IMAGES)
    finally:
        for child in children:
            child.close()


def tokens_a_second(device: str, windows: int, network: Network = LSTM) -> float:
    """Return how many tokens a second a recurrent child, of base 8 and hidden size 200, reads in training."""
    trainer = LanguageTrainer(RECIPE, SHAPE, device)
    tokens = torch.randint(WORDS, (RECIPE.batch * (RECIPE.bptt * (windows + 4) + 1),)).to(device)
    run = _LanguageRun(trainer.build(network), RECIPE, tokens)
    run.start_epoch(0)
    with products("bfloat16"):
        for step in range(3):
            run.step(step).item()
        start = time.perf_counter()
        for step in range(3, 3 + windows):
            loss = run.step(step)
        loss.item()
    return windows * RECIPE.batch * RECIPE.bptt / (time.perf_counter() - start)


def main() -> None:
    """Measure, or say that there is no GPU."""
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return
    card = device_class("cuda")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "tests/gpu"]
    try:
        passed = subprocess.run(command, timeout=TESTS_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        passed = False
    figures: list[dict[str, Any]] = [{"name": "tests that need a GPU", "card": card, "passed": passed}]
    for batch in BATCHES:
        for at_once in SIDE_BY_SIDE:
            rate = children_an_hour("cuda", batch, at_once, seconds=6)
            figures.append({"card": card, "batch": batch, "at_once": at_once, "children_an_hour": rate})
            print(
                f"{card}, batch {batch}, {at_once} side by side: {rate:.1f} children an hour;"
                f" the paper's search: {CHILDREN / rate:,.0f} GPU-hours",
                flush=True,
            )
    reference = LanguageTrainer(RECIPE, SHAPE, "cuda").reference("lstm", LSTM)
    with patch.object(Recording, "play", Recording.call):
        rates = {"call by call": tokens_a_second("cuda", windows=100)}
    rates["CUDA graphs"] = tokens_a_second("cuda", windows=100)
    rates["nn.LSTM of equal parameters"] = tokens_a_second("cuda", windows=100, network=reference)
    for name, rate in rates.items():
        figures.append({"card": card, "recurrent": name, "tokens_a_second": rate})
        print(f"{card}, recurrent child, base 8, H 200, {name}: {rate:,.0f} tokens/s")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written: {OUT}")


if __name__ == "__main__":
    main()
