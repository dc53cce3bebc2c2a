"""The network of Whisper's encoder; a file of its own, since it imports for seconds."""

from typing import Any

from transformers.models.whisper.modeling_whisper import (
    WhisperEncoder,
    WhisperPreTrainedModel,
)


class WhisperEncoderAlone(WhisperPreTrainedModel):
    """Whisper without its decoder, which is neither read nor kept."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()
