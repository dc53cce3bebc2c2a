"""WavLM's attention through torch's fused kernel.

Transformers computes it with `multi_head_attention_forward`, which writes out all
attention weights and averages them over the heads, for nobody. The gated position
bias is an additive mask, so the fused kernel does the same with less memory.
"""

import types
from typing import Any

import torch
import torch.nn.functional as F


def use_fused_attention(model: Any) -> None:
    """Make every attention module of a WavLM model use the fused kernel.

    Arguments
    ---------
    model : transformers.WavLMModel
        Changed in place; its parameters stay as they are.
    """
    for layer in model.encoder.layers:
        layer.attention.torch_multi_head_self_attention = types.MethodType(
            fused_self_attention, layer.attention
        )


def fused_self_attention(
    attention: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    gated_position_bias: torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """Compute softmax(q k' / sqrt(d) + bias) v and its output projection.

    Arguments
    ---------
    attention : transformers' WavLMAttention
        Holds the projections; H heads of size d.
    hidden_states : torch.Tensor
        (B, T, D).
    attention_mask : torch.Tensor or None
        (B, T), bool, true on real frames; None means that all are.
    gated_position_bias : torch.Tensor
        (B * H, T, T), added to the logits; overwritten on padding.

    Returns
    -------
    output : torch.Tensor
        (B, T, D).
    weights : None
        In place of the attention weights, which nothing needs.
    """
    batch, size, _ = hidden_states.shape
    heads = (batch, size, attention.num_heads, attention.head_dim)
    query, key, value = (
        projection(hidden_states).view(heads).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )  # (B, H, T, d) each
    bias = gated_position_bias.view(batch, attention.num_heads, size, size)
    if attention_mask is not None:
        bias.masked_fill_(~attention_mask[:, None, None, :], float("-inf"))
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attention.out_proj(output.transpose(1, 2).reshape(batch, size, -1)), None
