"""Models of containers that are asleep, with real Podman: a request starts the one it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai

from tests.support.node import NodeProcess
from tests.support.podman import IsolatedPodman

HELLO: Any = {"role": "user", "content": "the sky"}


def test_a_request_starts_the_container_of_its_model(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    image = podman.echo_image()
    document = {
        "manage_containers": True,
        "max_running": 1,
        "podman": {"url": podman.url},
        "containers": [
            {"id": name, "image": image, "models": [f"model-{name}"], "start": "on_demand"}
            for name in ("a", "b")
        ],
    }
    with NodeProcess(document, tmp_path) as node:
        client = openai.OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["model-a", "model-b"]
        assert running(podman) == []
        for name in ("a", "b", "a"):
            answer = client.chat.completions.create(model=f"model-{name}", messages=[HELLO])
            assert HELLO["content"] in str(answer.choices[0].message.content)
            (only,) = running(podman)
            assert only.startswith(f"infernet-edge-{name}-")
        stream = client.chat.completions.create(model="model-b", messages=[HELLO], stream=True)
        text = "".join(each.choices[0].delta.content or "" for each in stream if each.choices)
        assert HELLO["content"] in text


def running(podman: IsolatedPodman) -> list[str]:
    return podman.run("ps", "--format", "{{.Names}}").split()
