"""The paths of OpenAI's API."""

from __future__ import annotations

from typing import Final

ROOT: Final = "/v1/"
"""The beginning of all its paths."""

MODELS: Final = "/v1/models"
MODEL: Final = "/v1/models/{id:path}"  # names of models have slashes
CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"
ENDPOINTS: Final = (CHAT, COMPLETIONS, EMBEDDINGS)
"""Those that run a model."""
