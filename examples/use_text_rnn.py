"""Use the language model that the text-rnn search exported, and test it: python examples/use_text_rnn.py FOLDER

Needs numpy and onnxruntime, and the Python release that it was trained with (the text is Python's language
reference); neither torch nor rlnas.
"""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime sends some by default, from its import on
import onnxruntime

SPLIT_SEED = 0  # what examples/text-rnn.yaml leaves at its default


def test_words() -> list[str]:
    """Cut the text as rlnas does, and return the words of its last tenth."""
    sections = list(topics.values())
    order = np.random.RandomState(SPLIT_SEED).permutation(len(sections))
    paragraphs = dict.fromkeys(text.strip() for at in order for text in sections[at].split("\n\n"))
    words: list[str] = []
    for paragraph in paragraphs:
        text = "\n".join(line for line in paragraph.lower().splitlines() if re.search(r"\w", line))
        found = re.findall(r"[^\W\d]\w*|\d+|[^\w\s]", text)
        words += ["N" if word.isdecimal() else word for word in found] + ["<eos>"] * bool(found)
    return words[len(words) * 9 // 10 :]


folder = Path(sys.argv[1])
session = onnxruntime.InferenceSession(folder / "model.onnx")
vocabulary = {word: i for i, word in enumerate((folder / "vocabulary.txt").read_text("utf-8").split("\n")[:-1])}
tokens = [vocabulary.get(word, vocabulary["<unk>"]) for word in test_words()]

layers, two, _, hidden = session.get_inputs()[1].shape
state = np.zeros((layers, two, 1, hidden), np.float32)
loss = 0.0
for word, following in pairwise(tokens):
    logits, state = session.run(None, {"words": np.array([word]), "state": state})
    scores = logits[0].astype(np.float64)
    loss += np.logaddexp.reduce(scores) - scores[following]
print(f"test perplexity {np.exp(loss / (len(tokens) - 1)):.2f} of {len(tokens)} words")
