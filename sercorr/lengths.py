"""Relative lengths, frames and masks: the only place that rounds.

Lengths follow SpeechBrain: one number an item in (0, 1], relative to the padded
length of the batch. A relative length that was made from a whole number of samples
or frames comes back as exactly that number (float32 is exact up to 2^24).
"""

from collections.abc import Sequence

import torch


def relative_to_absolute(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Turn relative lengths into whole numbers of samples or frames.

    Arguments
    ---------
    lengths : torch.Tensor
        (B,), each in (0, 1].
    size : int
        The padded length that ``lengths`` are relative to.

    Returns
    -------
    torch.Tensor
        (B,), int64, each in 1 .. ``size``.

    Raises
    ------
    ValueError
        A length is not in (0, 1].

    Example
    -------
    >>> relative_to_absolute(torch.tensor([1.0, 0.5, 0.01]), 10)
    tensor([10,  5,  1])
    """
    lengths = torch.as_tensor(lengths)
    if lengths.numel() and not bool(((lengths > 0) & (lengths <= 1 + 1e-6)).all()):
        raise ValueError(f"relative lengths must be in (0, 1] (got {lengths.tolist()})")
    absolute = torch.round(lengths.double() * size).long()
    return absolute.clamp(min=1, max=size)


def absolute_to_relative(absolute: torch.Tensor, size: int) -> torch.Tensor:
    """Turn numbers of samples or frames into lengths relative to ``size``.

    The inverse of `relative_to_absolute`.

    Example
    -------
    >>> absolute_to_relative(torch.tensor([10, 5]), 10)
    tensor([1.0000, 0.5000])
    """
    return (torch.as_tensor(absolute).double() / size).float()


def frame_mask(
    lengths: torch.Tensor | None, batch: int, size: int, device: torch.device
) -> torch.Tensor:
    """Say which frames of a padded batch are real.

    Arguments
    ---------
    lengths : torch.Tensor or None
        (B,), relative; None means that every item has full length.
    batch, size : int
        B and T.
    device : torch.device
        Where the mask shall be.

    Returns
    -------
    torch.Tensor
        (B, T), bool.

    Raises
    ------
    ValueError
        There is not one length an item.

    Example
    -------
    >>> frame_mask(torch.tensor([1.0, 0.5]), 2, 4, torch.device("cpu")).int()
    tensor([[1, 1, 1, 1],
            [1, 1, 0, 0]], dtype=torch.int32)
    """
    if lengths is None:
        return torch.ones(batch, size, dtype=torch.bool, device=device)
    if tuple(lengths.shape) != (batch,):
        raise ValueError(
            f"lengths must have shape ({batch},), one an item "
            f"(got {tuple(lengths.shape)})"
        )
    return count_mask(relative_to_absolute(lengths, size), size, device)


def count_mask(
    counts: Sequence[int] | torch.Tensor, size: int, device: torch.device
) -> torch.Tensor:
    """Say which of ``size`` positions are below each count, as (B, size) bool.

    Example
    -------
    >>> count_mask([1, 3], 3, torch.device("cpu")).int()
    tensor([[1, 0, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    limits = torch.as_tensor(counts, device=device)
    return torch.arange(size, device=device)[None, :] < limits[:, None]


def conv_frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Count the frames that a stack of unpadded convolutions makes.

    Arguments
    ---------
    samples : int
        Length of the clip in samples.
    kernels, strides : sequence of int
        Sizes of the convolutions, first to last.

    Returns
    -------
    int
        Number of frames, 0 where the clip is shorter than the receptive field.

    Example
    -------
    >>> kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    >>> [conv_frames(n, kernels, strides) for n in (399, 400, 719, 720, 16000)]
    [0, 1, 1, 2, 49]
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = max((samples - kernel) // stride + 1, 0)
    return samples
