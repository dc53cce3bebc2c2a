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
    """Count the operations of a clip in each part of wav2vec 2.0, HuBERT or WavLM."""
    convolutions, channels = 0, 1
    kernels, strides = config.conv_kernel, config.conv_stride
    for index, size in enumerate(config.conv_dim):
        out = conv_frames(samples, kernels[: index + 1], strides[: index + 1])
        convolutions += 2 * out * kernels[index] * channels * size
        channels = size
    frames, width = conv_frames(samples, kernels, strides), config.hidden_size
    kernel = config.num_conv_pos_embeddings
    group = width // config.num_conv_pos_embedding_groups
    # An even kernel makes one frame too many, which is cut off again.
    positions = frames + (1 - kernel % 2)
    blocks = config.num_hidden_layers
    gates = 8 if config.model_type == "wavlm" else 0  # of positions, of each head
    return {
        "convolutions": convolutions,
        "projections": 2 * frames * channels * width + blocks * 8 * frames * width**2,
        "positions": 2 * positions * kernel * group * width
        + blocks * 2 * frames * width * gates,
        "attention": blocks * 4 * frames**2 * width,
        "feed-forward": blocks * 4 * frames * width * config.intermediate_size,
    }


def update_operations(
    frames: Sequence[int], num_layers: int, width: int, size: int, heads: int = 4
) -> dict[str, int]:
    """Count what each part of an attentive head's update cannot do without.

    Arguments
    ---------
    frames : sequence of int
        Frames of each clip.
    num_layers, width : int
        L and D of the features.
    size, heads : int
        d_v and H of the head.
    """
    total = sum(frames)
    return {
        "mix forward": 2 * total * num_layers * width,
        "mix backward": 2 * total * num_layers * width,  # of the weights alone
        "projection": 3 * 2 * total * width * size,
        "attention": 3 * 2 * total * size * (size + heads),
        # One product each way is enough, since the matrix is symmetric. Autograd
        # makes two of them backward.
        "covariance": 2 * 2 * total * size * size,
    }


def matrix_product(
    n: int, k: int, m: int, operations: float = 0.0
) -> tuple[int, Callable[[], None]]:
    """Make a function that multiplies (n, k) by (k, m) in float32; count what it does.

    It repeats the product until about ``operations`` are done, at least once.
    """
    repeats = max(round(operations / (2 * n * k * m)), 1)
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(n, k, generator=generator)
    right = torch.randn(k, m, generator=generator)
    result = torch.empty(n, m)

    def run() -> None:
        for _ in range(repeats):
            torch.mm(left, right, out=result)

    return repeats * 2 * n * k * m, run
