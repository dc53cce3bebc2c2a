"""What only makes the package faster, never what makes it right.

Each piece does what a named function or module does, and is tested to be equal to it:

    layer_mix.mix_clips          sercorr.functional.mix_layers on every clip
    packed_linear                torch.nn.Linear in a frozen upstream
    wavlm_attention              WavLM's attention in transformers
    memory.keep_freed_memory     nothing: it changes how memory is reused

The environment variable ``SERCORR_FAST=0`` switches all of them off.
"""

import os


def enabled() -> bool:
    """Say whether the faster pieces are to be used: unless ``SERCORR_FAST`` is 0.

    Read at every call; an upstream keeps what it was loaded with.
    """
    return os.environ.get("SERCORR_FAST") != "0"
