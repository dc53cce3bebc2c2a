"""Relative lengths, frames and masks: the only place that rounds.

Lengths follow SpeechBrain: one number per item in (0, 1], relative to the padded
length of the batch. A relative length that was made from a whole number of samples
or frames comes back as exactly that number (float32 is exact up to 2^24).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def relative_to_absolute(lengths: Tensor, size: int) -> Tensor:
    """Turn lengths relative to ``size`` into whole numbers of samples or frames.

    Returns (B,), int64, each in 1 .. ``size``; a length that is not in (0, 1] is a
    ValueError.

    Example
    -------
    >>> relative_to_absolute(torch.tensor([1.0, 0.5, 0.01]), 10)
    tensor([10,  5,  1])
    """
    lengths = torch.as_tensor(lengths)
    if lengths.numel() and not bool(((lengths > 0) & (lengths <= 1 + 1e-6)).all()):
        raise ValueError(f"relative lengths must be in (0, 1] (got {lengths.tolist()})")
    return torch.round(lengths.double() * size).long().clamp(min=1, max=size)


def absolute_to_relative(absolute: Tensor, size: int) -> Tensor:
    """Turn numbers of samples or frames into lengths relative to ``size``.

    Example
    -------
    >>> absolute_to_relative(torch.tensor([10, 5]), 10)
    tensor([1.0000, 0.5000])
    """
    return (torch.as_tensor(absolute).double() / size).float()


def real_counts(lengths: Tensor | None, batch: int, size: int) -> list[int]:
    """Count what is real in each item of a padded batch.

    ``lengths`` is (B,), relative to ``size``; None means that every item has full
    length. A ValueError if there is not one per item, or one is not in (0, 1].

    Example
    -------
    >>> real_counts(torch.tensor([1.0, 0.5]), 2, 10), real_counts(None, 2, 10)
    ([10, 5], [10, 10])
    """
    if lengths is None:
        return [size] * batch
    if tuple(lengths.shape) != (batch,):
        raise ValueError(
            f"lengths must have shape ({batch},), one per item "
            f"(got {tuple(lengths.shape)})"
        )
    return relative_to_absolute(lengths, size).tolist()


def count_mask(counts: Sequence[int], size: int, device: torch.device) -> Tensor:
    """Say which of ``size`` positions are below each count, as (B, size) bool.

    Example
    -------
    >>> count_mask([1, 3], 3, torch.device("cpu")).int()
    tensor([[1, 0, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    # One by one: a tensor of the counts would make them constants of a traced graph.
    places = torch.arange(size, device=device)
    return torch.stack([places < count for count in counts])


def conv_frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Count the frames that a stack of unpadded convolutions makes of a clip.

    Example
    -------
    >>> kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    >>> [conv_frames(n, kernels, strides) for n in (399, 400, 719, 720, 16000)]
    [0, 1, 1, 2, 49]
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = max((samples - kernel) // stride + 1, 0)
    return samples
