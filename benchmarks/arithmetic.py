"""Arithmetic counted from shapes, and the rate at which the machine could do it.

One multiplication with its addition counts as two operations. What is left out (norms,
activations, softmax) is under 1 %.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PretrainedConfig

from sercorr.lengths import conv_frames

BILLION = 1e9
PRODUCTS = "matrix products"


def extraction_operations(config: PretrainedConfig, samples: int) -> dict[str, int]:
    """Count the operations that one clip takes in a base-size or similar model.

    Arguments
    ---------
    config : transformers.PretrainedConfig
        Of wav2vec 2.0 or HuBERT.
    samples : int
        Length of the clip.

    Returns
    -------
    dict
        Part of the model -> operations.
    """
    convolutions, channels = 0, 1
    kernels, strides = config.conv_kernel, config.conv_stride
    for index, size in enumerate(config.conv_dim):
        out = conv_frames(samples, kernels[: index + 1], strides[: index + 1])
        convolutions += 2 * out * kernels[index] * channels * size
        channels = size
    frames, width = conv_frames(samples, kernels, strides), config.hidden_size
    kernel, groups = (
        config.num_conv_pos_embeddings,
        config.num_conv_pos_embedding_groups,
    )
    # An even kernel makes one frame too many, which is cut off again.
    positions = frames + (1 - kernel % 2)
    blocks = config.num_hidden_layers
    return {
        "convolutions": convolutions,
        "projections": 2 * frames * channels * width + blocks * 8 * frames * width**2,
        "positions": 2 * positions * kernel * (width // groups) * width,
        "attention": blocks * 4 * frames**2 * width,
        "feed-forward": blocks * 4 * frames * width * config.intermediate_size,
    }


def update_operations(
    frames: Sequence[int], num_layers: int, width: int, size: int, heads: int = 4
) -> dict[str, int]:
    """Count the operations of one update of an attentive head, forward and backward.

    Arguments
    ---------
    frames : sequence of int
        Frames a clip that are worked on; with padding, equal numbers.
    num_layers, width : int
        L and D of the features.
    size, heads : int
        d_v and H of the head.

    Returns
    -------
    dict
        Part of the head -> operations.
    """
    total = sum(frames)
    return {
        "mix forward": 2 * total * num_layers * width,
        "mix backward": 2 * total * num_layers * width,  # of the weights alone
        "projection": 3 * 2 * total * width * size,
        "attention": 3 * 2 * total * size * (size + heads),
        "covariance": 2 * 2 * total * size * size,  # one product each way
    }


def product_rates(
    shapes: Sequence[tuple[int, int, int]], operations: float = 4e10
) -> dict[str, tuple[int, Callable[[], None]]]:
    """Make products of float32 matrices whose rate is to be measured.

    Arguments
    ---------
    shapes : sequence of tuple
        (n, k, m): (n, k) times (k, m).
    operations : float
        Repeat each product until about so many operations are done.

    Returns
    -------
    dict
        Name -> operations of a call, callable.
    """
    cases = {}
    for n, k, m in shapes:
        repeats = max(round(operations / (2 * n * k * m)), 1)
        cases[f"mm {n}x{k}x{m}"] = (
            repeats * 2 * n * k * m,
            _products(n, k, m, repeats),
        )
    return cases


def square_products(size: int) -> tuple[int, Callable[[], None]]:
    """Make one product of square matrices: its operations, and a callable."""
    (product,) = product_rates([(size,) * 3], 2 * size**3).values()
    return product


def _products(n: int, k: int, m: int, repeats: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(n, k, generator=generator)
    right = torch.randn(k, m, generator=generator)
    result = torch.empty(n, m)

    def run() -> None:
        for _ in range(repeats):
            torch.mm(left, right, out=result)

    return run
