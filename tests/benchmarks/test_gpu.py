"""The benchmark of a GPU: what needs none is tried on the CPU."""

import pytest
import torch

from benchmarks import gpu


def test_rates_are_measured_on_any_device() -> None:
    threads = torch.get_num_threads()
    assert gpu.children_an_hour("cpu", batch=8, at_once=2, seconds=0.2) > 0
    assert gpu.tokens_a_second("cpu", windows=1) > 0
    torch.set_num_threads(threads)


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main()
    assert capsys.readouterr().out == "no GPU here: nothing is measured\n"
