from __future__ import annotations

import pytest

from infernet_edge.config.model import Model
from infernet_edge.containers.models import declared_model, is_declared, parse_model_id
from infernet_edge.schema import MLModel


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("gpt2", MLModel(name="gpt2")),
        ("openai/gpt-4", MLModel(owner="openai", name="gpt-4")),
        ("owner/name/v1", MLModel(owner="owner", name="name", version="v1")),
        (
            "huggingface/owner/name",
            MLModel(storage="huggingface", owner="owner", name="name"),
        ),
        (
            "arweave/owner/name/v2:a.onnx,b.onnx",
            MLModel(
                storage="arweave",
                owner="owner",
                name="name",
                version="v2",
                files=["a.onnx", "b.onnx"],
            ),
        ),
        ("huggingface/distilbert", MLModel(owner="huggingface", name="distilbert")),
        ("", MLModel()),
        ("a/b/c/d/e", MLModel(owner="a", name="b", version="c/d/e")),
    ],
)
def test_model_ids(text: str, model: MLModel) -> None:
    assert parse_model_id(text) == model


PINNED = Model(
    owner="meta", name="llama", storage="huggingface", version="v2", files=["a.gguf", "b.gguf"]
)
MIRRORED = Model(owner="meta", name="llama", repository="my-mirror")


@pytest.mark.parametrize(
    ("asked", "declared"),
    [
        ("meta/llama", "meta/llama"),
        ("llama", "meta/llama"),
        ("huggingface/meta/llama", "meta/llama"),
        ("huggingface/meta/llama:model.gguf", "meta/llama"),
        ("huggingface/meta/llama/main:model.gguf", "meta/llama"),
        ("meta/llama", "huggingface/meta/llama/v1:model.gguf"),
        ("HuggingFace/meta/llama", "huggingface/meta/llama"),
        ("llama3:8b", "llama3:8b"),
        ("llama3", "llama3:8b"),
        ("meta/llama", PINNED),
        ("llama", PINNED),
        ("huggingface/meta/llama/v2:a.gguf", PINNED),
        ("huggingface/meta/llama/v2:b.gguf,a.gguf", PINNED),
        ("my-mirror/meta/llama", MIRRORED),
        ("a:b/c d+?&", "a:b/c d+?&"),
        ("meta/llama", Model(name="meta/llama")),
    ],
)
def test_ids_that_match_the_model(asked: str, declared: str | Model) -> None:
    assert is_declared(asked, ["something/else", declared])


@pytest.mark.parametrize(
    ("asked", "declared"),
    [
        ("meta/llama2", "meta/llama"),
        ("Meta/llama", "meta/llama"),
        ("other/llama", "meta/llama"),
        ("meta/llama", "llama"),
        ("meta", "meta/llama"),
        ("llama3:70b", "llama3:8b"),
        ("arweave/meta/llama", "huggingface/meta/llama"),
        ("arweave/meta/llama", PINNED),
        ("huggingface/meta/llama/v1", PINNED),
        ("huggingface/meta/llama/v2:c.gguf", PINNED),
        ("huggingface/meta/llama", MIRRORED),
        ("/", "meta/llama"),
        (":", "meta/llama"),
    ],
)
def test_ids_that_match_another_model(asked: str, declared: str | Model) -> None:
    assert not is_declared(asked, [declared])


def test_nothing_is_declared() -> None:
    assert not is_declared("meta/llama", [])


def test_a_model_of_the_configuration_keeps_all_its_fields() -> None:
    model = declared_model(Model(owner="o", name="n", files=["f"], ml_type="onnx", version="1"))

    assert model == MLModel(owner="o", name="n", files=["f"], ml_type="onnx", version="1")
