import torch

from common.device import pick_device


def test_a_gpu_that_is_listed_and_does_not_work_is_not_used(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def lost(*_, **__):
        raise RuntimeError("CUDA error: GPU is lost\nmore")

    monkeypatch.setattr(torch, "ones", lost)
    assert pick_device("auto") == torch.device("cpu")
    assert "the GPU does not work (CUDA error: GPU is lost)" in capsys.readouterr().err
    assert pick_device("cuda") == torch.device("cuda")  # asked for outright: the error comes where it is used
