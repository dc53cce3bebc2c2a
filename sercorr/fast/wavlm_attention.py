"""WavLM's attention through torch's fused kernel.

Transformers computes it with `multi_head_attention_forward`, which writes out all
attention weights and averages them over the heads, for nobody. The gated position
bias is an additive mask, so the fused kernel does the same with less memory.
"""

import types
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def use_fused_attention(model: Any) -> None:
    """Make every attention module of a transformers `WavLMModel` use the fused kernel.

    The model is changed in place; its parameters stay as they are.
    """
    for layer in model.encoder.layers:
        layer.attention.torch_multi_head_self_attention = types.MethodType(
            fused_self_attention, layer.attention
        )


def fused_self_attention(
    attention: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None,
    gated_position_bias: Tensor,
) -> tuple[Tensor, None]:
    """Compute softmax(q k' / sqrt(d) + bias) v and its output projection.

    ``attention`` is transformers' WavLMAttention, with H heads of size d;
    ``hidden_states`` (B, T, D); ``attention_mask`` (B, T), True on real frames, or
    None; ``gated_position_bias`` (B * H, T, T), overwritten on padding. Returns
    (B, T, D), and None in place of the weights, which nothing needs.
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
