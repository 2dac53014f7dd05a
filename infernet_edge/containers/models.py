"""The declared models of a container, and the model ids that match one of them.

Ritual's services write a model id as `storage/owner/name[/version][:file,file]` (`MlModelId` of
infernet-ml 2.0); their clients also send the "owner/name" of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from infernet_edge.config.model import Model
from infernet_edge.schema import MLModel

STORAGES = ("local", "arweave", "huggingface")
"""The storages that an id may begin with (`StorageId` of infernet-ml 2.0)."""


def declared_model(model: str | Model) -> MLModel:
    """Convert a model of the configuration to the form of /resources."""
    if isinstance(model, str):
        return parse_model_id(model)
    return msgspec.convert(model, MLModel, from_attributes=True)


def model_name(model: str | Model) -> str:
    """What a request names a configured model: its text, or owner/name."""
    if isinstance(model, str):
        return model
    return f"{model.owner}/{model.name}" if model.owner else model.name


def listed_model(name: str) -> Model:
    """A model that a server lists by this name: owner/name, a name with a tag, or a path."""
    owner, slash, rest = name.partition("/")
    return Model(owner=owner, name=rest) if owner and slash else Model(name=name)


def parse_model_id(text: str, storages: Iterable[str] = STORAGES) -> MLModel:
    """Parse `[storage/][owner/]name[/version][:file,file]`; omitted parts are "".

    A first part counts as a storage only when it is one of `storages` and two more follow.
    """
    path, _, files = text.partition(":")
    parts = path.split("/")
    storage = parts.pop(0) if len(parts) > 2 and parts[0].lower() in storages else ""
    owner = parts.pop(0) if len(parts) > 1 else ""
    return MLModel(
        owner=owner,
        name=parts[0],
        storage=storage,
        files=files.split(",") if files else [],
        version="/".join(parts[1:]),
    )


def is_declared(model_id: str, models: Iterable[str | Model]) -> bool:
    """Whether `model_id` matches one of `models`.

    It may be the whole text of the configuration, a name, owner/name, or a full id. An owner must
    be the declared one; storage, version and files must not contradict the declaration.
    """
    return any(_matches(model_id, model) for model in models)


def _matches(model_id: str, model: str | Model) -> bool:
    if model_id == (model if isinstance(model, str) else model.name):
        return True
    declared = declared_model(model)
    storages = {declared.storage.lower(), declared.repository.lower()} - {""}
    requested = parse_model_id(model_id, {*STORAGES, *storages})
    return (
        requested.name == declared.name
        and requested.owner in ("", declared.owner)
        and (not requested.storage or not storages or requested.storage.lower() in storages)
        and (not requested.version or not declared.version or requested.version == declared.version)
        and (not declared.files or set(requested.files) <= set(declared.files))
    )
