"""For the model of eth_utils/pydantic.py, see the package."""

from __future__ import annotations

from typing import Any

CoreSchemaField = dict[str, Any]
