"""Kubernetes manifests of a node and its services; `podman kube play` runs them too.

Objects are those of Kubernetes 1.25 and later: Deployment (apps/v1), Service, ConfigMap and
PersistentVolumeClaim (v1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from infernet_edge.config.devices import gpu_names
from infernet_edge.config.model import Container
from infernet_edge.config.rules import size_in_bytes
from infernet_edge.containers.specification import is_named_volume
from infernet_edge.export.plan import (
    CONFIGURATION_PATH,
    RPC_VARIABLE,
    SECRETS_PATH,
    STATE_PATH,
    ExportedService,
    Plan,
    object_name,
)

Manifest = dict[str, Any]

_PULL: Final = {"newer": "Always", "missing": "IfNotPresent", "never": "Never"}
_NODE_MEMORY: Final = "1Gi"  # as the systemd unit allows
_OVERHEAD: Final = 2**30  # bytes of the state's volume besides the jobs: the log of the database
_VOLUME_SIZE: Final = "10Gi"  # of a named volume, whose size Podman does not limit


def manifests(plan: Plan) -> tuple[list[Manifest], list[str]]:
    """All objects, and notes on what they do not express."""
    together = _in_pod(plan.services)
    alone = [service for service in plan.services if service not in together]
    addresses = {each.container.id: _address(each, "127.0.0.1") for each in together}
    addresses |= {each.container.id: _address(each, each.name) for each in alone}
    found = [_configuration(plan, addresses), _claim(f"{plan.name}-state", _state_size(plan))]
    found += [_claim(name, _VOLUME_SIZE) for name in _named_volumes(plan.services)]
    found += [_node(plan, together), _node_service(plan)]
    for service in alone:
        found += [_deployment(plan, service), _service(service)]
    return found, [*plan.notes, *_notes(plan, alone)]


def secret_template(plan: Plan) -> Manifest | None:
    """The Secret that the objects need, without its values; None when there is none."""
    keys = plan.all_secrets
    if not keys:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _secret(plan)},
        "stringData": dict.fromkeys(keys, ""),
    }


def _in_pod(services: Iterable[ExportedService]) -> list[ExportedService]:
    """Those that run in the node's pod, which has one network: no two with the same port."""
    ports: dict[int, ExportedService] = {}
    for service in services:
        ports.setdefault(service.container.container_port, service)
    return list(ports.values())


def _address(service: ExportedService, host: str) -> str:
    return f"http://{host}:{service.container.container_port}"


def _secret(plan: Plan) -> str:
    return f"{plan.name}-secrets"


def _configuration(plan: Plan, addresses: Mapping[str, str]) -> Manifest:
    text = json.dumps(plan.configuration(addresses), indent=2) + "\n"
    name = Path(CONFIGURATION_PATH).name
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{plan.name}-config"},
        "data": {name: text},
    }


def _claim(name: str, size: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    }


def _state_size(plan: Plan) -> str:
    return str(plan.config.storage.max_bytes + plan.config.storage.min_free_bytes + _OVERHEAD)


def _workload(name: str, pod: Manifest) -> Manifest:
    """One pod; the old one ends before a new one starts, since both would use one state."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _node(plan: Plan, together: list[ExportedService]) -> Manifest:
    config = plan.config
    scheme = "HTTPS" if config.server.tls else "HTTP"
    environment = [{"name": "INFERNET_CONFIG_PATH", "value": CONFIGURATION_PATH}]
    mounts = [
        {"name": "config", "mountPath": str(Path(CONFIGURATION_PATH).parent), "readOnly": True},
        {"name": "state", "mountPath": STATE_PATH},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container
    ]
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": f"{plan.name}-config"}},
        {"name": "state", "persistentVolumeClaim": {"claimName": f"{plan.name}-state"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if plan.secrets:
        environment.append({"name": "CREDENTIALS_DIRECTORY", "value": SECRETS_PATH})
        mounts.append({"name": "secrets", "mountPath": SECRETS_PATH, "readOnly": True})
        items = [{"key": key, "path": key} for key in plan.secrets]
        secret = {"secretName": _secret(plan), "defaultMode": 0o400, "items": items}
        volumes.append({"name": "secrets", "secret": secret})
    variables: list[Manifest] = list(environment)
    if plan.has_secret_rpc:
        variables.append(_from_secret(plan, RPC_VARIABLE, RPC_VARIABLE))
    published = {"containerPort": plan.port, "hostPort": plan.port, "name": "api"}
    if plan.is_local:
        published["hostIP"] = "127.0.0.1"
    node = {
        "name": "node",
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["infernet-edge"],
        "args": ["run"],
        "env": variables,
        "ports": [published],
        "readinessProbe": {"httpGet": {"path": "/health", "port": plan.port, "scheme": scheme}},
        "resources": {"limits": {"memory": _NODE_MEMORY}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
    }
    containers = [node]
    for service in together:
        container, needed = _container(plan, service)
        containers.append(container)
        volumes += [each for each in needed if each not in volumes]
    pod = {"containers": containers, "volumes": volumes, "terminationGracePeriodSeconds": 60}
    return _workload(plan.name, pod)


def _node_service(plan: Plan) -> Manifest:
    return _service_object(plan.name, plan.port)


def _deployment(plan: Plan, service: ExportedService) -> Manifest:
    container, volumes = _container(plan, service)
    if path := service.container.health_path:
        port = service.container.container_port
        container["readinessProbe"] = {"httpGet": {"path": path, "port": port}}
    pod: Manifest = {"containers": [container]}
    if volumes:
        pod["volumes"] = volumes
    return _workload(service.name, pod)


def _service(service: ExportedService) -> Manifest:
    return _service_object(service.name, service.container.container_port)


def _service_object(name: str, port: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": port}],
        },
    }


def _container(plan: Plan, service: ExportedService) -> tuple[Manifest, list[Manifest]]:
    """A container of a pod, and the volumes that the pod needs for it."""
    configured = service.container
    variables: list[Manifest] = [
        {"name": name, "value": value} for name, value in service.environment.items()
    ]
    variables += [_from_secret(plan, name, service.secret_key(name)) for name in service.secrets]
    mounts, volumes = _volumes(configured)
    found: Manifest = {
        "name": service.name,
        "image": configured.image,
        "imagePullPolicy": _pull_policy(configured),
        # Without ports, which inform only in Kubernetes: Podman publishes them for the network.
    }
    if service.arguments:
        found["args"] = service.arguments
    if variables:
        found["env"] = variables
    if limits := _limits(configured):
        found["resources"] = {"limits": limits}
    if mounts:
        found["volumeMounts"] = mounts
    return found, volumes


def _from_secret(plan: Plan, variable: str, key: str) -> Manifest:
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": _secret(plan), "key": key}},
    }


def _pull_policy(container: Container) -> str:
    is_here = container.image.startswith("localhost/")  # made on this machine: in no registry
    return _PULL["missing" if is_here and container.pull == "newer" else container.pull]


def _limits(container: Container) -> dict[str, str | int]:
    limits: dict[str, str | int] = {}
    if container.memory:
        limits["memory"] = str(size_in_bytes(container.memory))
    if container.cpus:
        limits["cpu"] = f"{max(1, round(container.cpus * 1000))}m"
    if names := gpu_names(container.gpu):
        limits["nvidia.com/gpu"] = len(names)
    return limits


def _volumes(container: Container) -> tuple[list[Manifest], list[Manifest]]:
    mounts: list[Manifest] = []
    volumes: list[Manifest] = []
    for text in container.volumes:
        source, target, *rest = text.split(":")
        options = rest[0].split(",") if rest else []
        if is_named_volume(source):
            name = object_name(source)
            volume: Manifest = {"persistentVolumeClaim": {"claimName": name}}
        else:
            path = str(Path(source).expanduser().absolute())
            name = object_name(f"host{path}")
            volume = {"hostPath": {"path": path}}
        if all(each["name"] != name for each in volumes):
            volumes.append({"name": name, **volume})
        mount: Manifest = {"name": name, "mountPath": target}
        if "ro" in options:
            mount["readOnly"] = True
        mounts.append(mount)
    if container.shm_size is not None:  # Kubernetes has no setting for its size
        name = object_name(f"shm-{container.id}")
        limit = str(size_in_bytes(container.shm_size))
        volumes.append({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
        mounts.append({"name": name, "mountPath": "/dev/shm"})  # noqa: S108 - that of containers
    return mounts, volumes


def _named_volumes(services: Iterable[ExportedService]) -> list[str]:
    sources = (text.partition(":")[0] for service in services for text in service.container.volumes)
    return list(dict.fromkeys(object_name(each) for each in sources if is_named_volume(each)))


def _notes(plan: Plan, alone: list[ExportedService]) -> Iterable[str]:
    if plan.all_secrets:
        yield f"the Secret {_secret(plan)} is needed; make it before: it is shown below"
    for service in alone:
        yield (
            f"{service.container.id} has a Deployment of its own: another container of the pod"
            f" listens on port {service.container.container_port} already"
        )
    limited = [f"{each.container.id} {each.container.pids}" for each in plan.services]
    if limited:
        yield (
            "the maximum of processes is a setting of the kubelet, podPidsLimit:"
            f" {', '.join(limited)}"
        )
    for service in plan.services:
        configured, name = service.container, service.container.id
        if configured.devices:
            devices = ", ".join(configured.devices)
            yield f"{name}: {devices} need a device plugin of the cluster"
        if configured.gpu is True:
            yield f"{name}: gpu = true asks for one GPU; change the number of nvidia.com/gpu"
        for text in configured.volumes:
            if not is_named_volume(source := text.partition(":")[0]):
                yield f"{name}: {source} must exist on the machine where the pod runs"
