"""The faster pieces equal the plain ones, and one switch turns all of them off."""

import copy
import ctypes
import pickle
import platform
import subprocess
import sys

import pytest
import torch
from clips import make_batch, make_clips
from models import FAMILIES, NORMS
from torch import nn

from sercorr import fast, functional
from sercorr.fast import layer_mix, packed_linear
from sercorr.fast.memory import keep_freed_memory
from sercorr.fast.packed_linear import PackedLinear, pack_linear_layers
from sercorr.lobes import EmotionHead, load_upstream, make_pooling

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here"
)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch):
    monkeypatch.setenv("SERCORR_FAST", "1")


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 200), nn.ReLU(), nn.Linear(200, 7, bias=False))


@pytest.fixture
def packed(model) -> nn.Sequential:
    packed = copy.deepcopy(model)
    pack_linear_layers(packed)
    return packed


def test_the_switch(monkeypatch):
    for value, on in (("1", True), ("", True), ("0", False)):
        monkeypatch.setenv("SERCORR_FAST", value)
        assert fast.enabled() is on
    monkeypatch.delenv("SERCORR_FAST")
    assert fast.enabled()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_faster_computes_when_it_is_switched_off(
    tiny_models, monkeypatch, family
):
    def forbidden(*_arguments, **_settings):
        raise AssertionError("a faster piece was used although SERCORR_FAST is 0")

    monkeypatch.setenv("SERCORR_FAST", "0")
    monkeypatch.setattr(layer_mix, "mix_clips", forbidden)
    monkeypatch.setattr(PackedLinear, "forward", forbidden)
    monkeypatch.setattr("sercorr.fast.wavlm_attention.fused_self_attention", forbidden)
    monkeypatch.setattr(ctypes, "CDLL", forbidden)
    upstream = load_upstream(str(tiny_models[family, "group"]))
    layers, lengths = upstream(*make_batch(make_clips()))
    sizes = (upstream.num_layers, upstream.output_size)
    head = EmotionHead(*sizes, make_pooling("corr", 8), 4, 0.1, projection_size=8)
    head(layers, lengths).sum().backward()
    assert keep_freed_memory() is False


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_upstreams_with_faster_pieces_equal_plain_ones(
    tiny_models, monkeypatch, family, norm
):
    found = []
    for value in ("1", "0"):
        monkeypatch.setenv("SERCORR_FAST", value)
        upstream = load_upstream(str(tiny_models[family, norm]))
        found.append(upstream(*make_batch(make_clips(), size=20000))[0])
        layers = [m for m in upstream.modules() if isinstance(m, nn.Linear)]
        if value == "1" and torch.backends.mkldnn.is_available():
            assert all(layer._packed is not None for layer in layers)
    torch.testing.assert_close(*found, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("chunk", [4 * 3 * 10, 2**19])  # 10 frames at a time, or all
def test_layer_mix_equals_the_plain_one(dtype, chunk, monkeypatch):
    monkeypatch.setitem(layer_mix._CHUNK, "cpu", chunk)
    generator = torch.Generator().manual_seed(7)
    padded = torch.full((4, 30, 3), float("nan"), dtype=dtype)  # may not be read
    padded[:, :25] = torch.randn(4, 25, 3, generator=generator)
    others = [torch.randn(4, size, 3, generator=generator).to(dtype) for size in (1, 9)]
    clips = [padded[:, :25], *others]
    gammas = torch.rand(2, 4, generator=generator).requires_grad_()
    slopes = torch.randn(2, 35, 3, generator=generator)
    mixed = torch.stack(layer_mix.mix_clips(clips, gammas))
    assert mixed.dtype == torch.float32
    mixed.backward(slopes)
    doubles = gammas.detach().double().requires_grad_()
    everything = torch.cat(clips, dim=1)
    wanted = torch.stack([functional.mix_layers(everything, row) for row in doubles])
    wanted.backward(slopes.double())
    close = {"rtol": 1e-5, "atol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(mixed, wanted, **close)
    torch.testing.assert_close(gammas.grad, doubles.grad, **close)


def expected(model: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    return copy.deepcopy(model).double()(frames.double()).float()


@needs_onednn
@pytest.mark.parametrize("shape", [(96,), (1, 96), (3, 96), (2, 5, 96), (1, 700, 96)])
@torch.no_grad()
def test_packed_linear_against_products_in_float64(model, packed, shape):
    frames = torch.randn(shape)
    torch.testing.assert_close(packed(frames), expected(model, frames))
    strided = torch.randn(*shape[:-1], 2 * 96)[..., ::2]
    torch.testing.assert_close(packed(strided), expected(model, strided))


def test_without_torchs_private_operators_nothing_is_packed(model, monkeypatch):
    monkeypatch.setattr(packed_linear, "_OPERATORS", ("_gone_from_torch",))
    pack_linear_layers(model)
    assert type(model[0]) is nn.Linear


@needs_onednn
def test_packed_linear_in_other_types_and_with_gradients(model, packed):
    assert packed.state_dict().keys() == model.state_dict().keys()
    frames = torch.randn(3, 96)
    with torch.no_grad():
        half = packed.to(torch.bfloat16)(frames.bfloat16())
        assert half.dtype == torch.bfloat16
        wanted = expected(model, frames)
        torch.testing.assert_close(half.float(), wanted, rtol=0.1, atol=0.05)
        packed.to(torch.float32).load_state_dict(model.state_dict())
        packed[0].pack(), packed[2].pack()
        torch.testing.assert_close(packed(frames), wanted)
    model(frames).sum().backward()
    packed(frames).sum().backward()
    torch.testing.assert_close(packed[0].weight.grad, model[0].weight.grad)


@needs_onednn
@torch.no_grad()
def test_copies_are_packed_too(packed):
    frames = torch.randn(3, 96)
    for twin in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert twin[0]._packed is not None
        assert torch.equal(twin(frames), packed(frames))


FAULTS = """
import resource, torch
from sercorr.fast.memory import keep_freed_memory

def faults():
    for _ in range(12):  # holes of nearly the right size are left at first
        torch.ones(10 * 2**20)  # 40 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(10 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library than glibc"
)
def test_a_large_tensor_takes_the_memory_of_the_last_one():
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, taken, after = done.stdout.split()
    assert int(before) >= 4 * 40 / 2  # even in pages of 2 MiB
    assert taken == "True"
    assert int(after) < 10


def test_memory_without_glibc(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert keep_freed_memory() is False
