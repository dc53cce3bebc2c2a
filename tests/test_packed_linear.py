"""Packed linear layers: the same numbers, whatever is done to the model."""

import copy
import pickle

import pytest
import torch
from models import FAMILIES
from torch import nn

from sercorr.fast.packed_linear import PackedLinear, pack_linear_layers
from sercorr.lobes.upstream import load_upstream

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here"
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 200), nn.ReLU(), nn.Linear(200, 7, bias=False))


@pytest.fixture
def packed(model):
    packed = copy.deepcopy(model)
    pack_linear_layers(packed)
    return packed


def expected(model, frames):
    return copy.deepcopy(model).double()(frames.double()).float()


@pytest.mark.parametrize("shape", [(96,), (1, 96), (3, 96), (2, 5, 96), (1, 700, 96)])
@torch.no_grad()
def test_against_products_in_float64(model, packed, shape):
    frames = torch.randn(shape)
    torch.testing.assert_close(packed(frames), expected(model, frames))
    strided = torch.randn(*shape[:-1], 2 * 96)[..., ::2]
    torch.testing.assert_close(packed(strided), expected(model, strided))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_of_an_upstream_are_packed(tiny_models, family):
    upstream = load_upstream(str(tiny_models[family, "group"]))
    layers = [m for m in upstream.modules() if isinstance(m, nn.Linear)]
    assert layers
    assert all(type(layer) is PackedLinear for layer in layers)
    assert all(layer._packed is not None for layer in layers)


def test_parameters_keep_their_names_and_values(model, packed):
    assert packed.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(packed.state_dict()[name], value)


@torch.no_grad()
def test_other_types_use_their_own_weights(model, packed):
    frames = torch.randn(3, 96)
    packed.to(torch.bfloat16)
    half = packed(frames.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.float(), expected(model, frames), rtol=0.1, atol=0.05
    )
    packed.to(torch.float32).load_state_dict(model.state_dict())
    for layer in (packed[0], packed[2]):
        layer.pack()
    torch.testing.assert_close(packed(frames), expected(model, frames))


def test_gradients_are_there_when_asked_for(model, packed):
    frames = torch.randn(3, 96)
    model(frames).sum().backward()
    packed(frames).sum().backward()
    torch.testing.assert_close(packed[0].weight.grad, model[0].weight.grad)


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
@torch.no_grad()
def test_copies_are_packed_too(packed, clone):
    twin, frames = clone(packed), torch.randn(3, 96)
    assert twin[0]._packed is not None
    assert torch.equal(twin(frames), packed(frames))
