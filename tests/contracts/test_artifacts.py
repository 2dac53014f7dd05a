"""The compiled contracts are those of the sources, and speak the ABI of the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.abi import ARTIFACTS, artifact, selector, signature
from tests.support.delegated import container_hash
from tests.support.evm import NPM


def test_artifacts_are_those_of_the_sources(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NPM / "solc").exists():
        reason = "node or solc is missing: run tests/setup"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    subprocess.run(
        [node, ARTIFACTS.parent / "compile.js", tmp_path / "artifacts"],
        env=os.environ | {"NODE_PATH": str(NPM)},
        check=True,
        timeout=100,
    )
    compiled = {path.name: path.read_text() for path in (tmp_path / "artifacts").iterdir()}
    committed = {path.name: path.read_text() for path in ARTIFACTS.iterdir()}
    assert compiled == committed


# Selectors as the deployed contracts have them.
FUNCTIONS = {
    "Registry": {"COORDINATOR": "3b2bcbf1", "READER": "698eec44", "WALLET_FACTORY": "0e2009f4"},
    "EIP712Coordinator": {
        "id": "af640d0f",
        "getSubscription": "a17b920b",
        "redundancyCount": "bc85694f",
        "nodeResponded": "298f7bdc",
        "delegateCreatedIds": "60ed0f61",
        "deliverCompute": "c509543d",
        "deliverComputeDelegatee": "9fff314a",
    },
    "Reader": {"readSubscriptionBatch": "3ddc29f5", "readRedundancyCountBatch": "757f1c84"},
    "SubscriptionConsumer": {"getContainerInputs": "962fad75"},
    "CallbackConsumer": {"getContainerInputs": "962fad75"},
    "DelegatedConsumer": {"getSigner": "7ac3c02f"},
    "Wallet": {"approve": "e1f21c67", "owner": "8da5cb5b"},
    "Token": {"allowance": "dd62ed3e"},
    "WalletFactory": {"isValidWallet": "439a3012"},
}

ERRORS = {
    "EIP712Coordinator": {
        "InvalidWallet": "23455ba1",
        "IntervalMismatch": "4db310c3",
        "IntervalCompleted": "2f4ca85b",
        "UnauthorizedVerifier": "b9857aa1",
        "NodeRespondedAlready": "88a21e4f",
        "SubscriptionNotFound": "1a00354f",
        "ProofRequestNotFound": "1d68b37c",
        "NotSubscriptionOwner": "a7fba711",
        "SubscriptionCompleted": "ae6704a7",
        "SubscriptionNotActive": "efb74efe",
        "UnsupportedVerifierToken": "e2372799",
        "SignerMismatch": "10c74b03",
        "SignatureExpired": "0819bdcd",
        "InvalidSignature": "8baa579f",
    },
    "Wallet": {
        "TransferFailed": "90b8ec18",
        "InsufficientFunds": "356680b7",
        "InsufficientAllowance": "13be252b",
    },
    "AllowlistConsumer": {"NodeNotAllowed": "42764946"},
    "Token": {"InsufficientBalance": "f4d678b8"},
    "CoordinatorV0": {
        "NodeNotActive": "8741cbb8",
        "GasPriceExceeded": "682bad5a",
        "GasLimitExceeded": "be9179a6",
        "SubscriptionNotFound": "1a00354f",
        "SignerMismatch": "10c74b03",
        "SignatureExpired": "0819bdcd",
        "InvalidSignature": "8baa579f",
    },
}


@pytest.mark.parametrize(
    ("kind", "contract", "name", "expected"),
    [
        (kind, contract, name, expected)
        for kind, contracts in (("function", FUNCTIONS), ("error", ERRORS))
        for contract, selectors in contracts.items()
        for name, expected in selectors.items()
    ],
)
def test_selectors_are_those_of_the_deployed_contracts(
    kind: str, contract: str, name: str, expected: str
) -> None:
    (entry,) = (
        entry
        for entry in artifact(contract)["abi"]
        if entry["type"] == kind and entry["name"] == name
    )
    assert selector(entry).hex() == expected


@pytest.mark.parametrize("contract", ["EIP712Coordinator", "CoordinatorV0"])
def test_events_are_those_of_the_deployed_contracts(contract: str) -> None:
    events = {
        signature(entry): [part["indexed"] for part in entry["inputs"]]
        for entry in artifact(contract)["abi"]
        if entry["type"] == "event" and entry["name"].startswith("Subscription")
    }
    assert events == {
        "SubscriptionCreated(uint32)": [True],
        "SubscriptionCancelled(uint32)": [True],
        "SubscriptionFulfilled(uint32,address)": [True, True],
    }


def test_container_ids_are_hashed_as_abi_encoded_text() -> None:
    assert container_hash("echo").hex().startswith("e6bc11af")
    assert container_hash("echo").hex().endswith("788ec8")


def test_the_lock_file_names_no_registry() -> None:
    lock = (ARTIFACTS.parent / "package-lock.json").read_text()
    assert "http" not in lock
    assert "resolved" not in lock
