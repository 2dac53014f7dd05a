"""The small modules of the executable do what the node needs of the libraries in their place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.process import ROOT

SUBSTITUTES = ROOT / "infernet_edge/substitutes"
LIBRARIES = sorted(path.stem for path in SUBSTITUTES.iterdir() if path.suffix in ("", ".py"))

# The work of the node with eth-account, eth-abi and py-cpuinfo. Prints what came out as JSON, and
# where each library was found.
_WORK = """
import importlib, json, sys
if "cytoolz" in sys.argv[2:]:
    sys.modules["cytoolz"] = None
from eth_abi.abi import decode, encode
from eth_abi.exceptions import ParseError
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_abi.grammar import parse
import cpuinfo.cpuinfo

account = Account.from_key("0x" + "4c" * 32)
fees = {"chainId": 31337, "nonce": 7, "to": account.address, "value": 0, "gas": 90000}
done = {}
for name, more in {
    "dynamic": {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 1, "data": b"\\1\\2"},
    "legacy": {"gasPrice": 10**9, "data": b""},
    "access list": {"gasPrice": 1, "data": "0x01", "accessList": [
        {"address": "0x" + "11" * 20, "storageKeys": ["0x" + "00" * 32]}]},
}.items():
    signed = account.sign_transaction({**fees, **more})
    done[name] = [signed.raw_transaction.hex(), signed.hash.hex(), signed.v]
    done[name].append(Account.recover_transaction(signed.raw_transaction))
    assert done[name][-1] == account.address
typed = encode_typed_data(
    {"name": "X", "version": "1", "chainId": 1, "verifyingContract": "0x" + "22" * 20},
    {"D": [{"name": "n", "type": "uint32"}, {"name": "s", "type": "S"}, {"name": "a",
        "type": "bytes32[]"}], "S": [{"name": "text", "type": "string"}]},
    {"n": 1, "s": {"text": "\\u00e9"}, "a": [b"\\1" * 32]},
)
done["typed"] = [account.sign_message(typed).signature.hex()]
done["typed"].append(Account.recover_message(typed, signature=bytes.fromhex(done["typed"][0])))
types = ["(uint256,address,bytes32[2],(string,bool)[])", "int8[]", "bytes", "ufixed128x18[3][]"]
for type in types + ["uint", "bytes33", "(", "uint256[-1]", "uint8 ", "(int,)", "\\u0660int", ""]:
    try:
        parse(type).validate()
        done[type] = parse(type).to_type_str()
    except Exception as error:
        done[type] = str(error)
values = [(1, "0x" + "ff" * 20, [b"\\2" * 32, b"\\3" * 32], [("t", True)]), [-1, 5], b"xyz"]
encoded = encode(types[:3], values)
done["encoded"] = encoded.hex()
done["decoded"] = repr(decode(types[:3], encoded))
for kdf, rounds in (("scrypt", 4096), ("pbkdf2", 100)):
    keystore = account.encrypt("word", kdf=kdf, iterations=rounds)
    done[kdf] = bytes(Account.decrypt(keystore, "word")).hex()
    try:
        Account.decrypt(keystore, "other")
    except ValueError as error:
        done[kdf + " wrong"] = str(error)
stored = json.loads(open(sys.argv[1]).read())
done["stored"] = [bytes(Account.decrypt(text, "testpassword")).hex() for text in stored]
done["new"] = Account.create().address.startswith("0x")
done["arch"] = cpuinfo.cpuinfo.get_cpu_info()["arch"]
places = {name: importlib.import_module(name).__file__ for name in json.loads(sys.stdin.read())}
print(json.dumps([done, places]))
"""

# Published test vectors: Web3 Secret Storage Definition, version 3.
_STORED = [
    {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262144,
                "dklen": 32,
                "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
]
_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


def work(folder: Path, *path: Path, without: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    stored = folder / "stored.json"
    stored.write_text(json.dumps(_STORED))
    done = subprocess.run(
        [sys.executable, "-c", _WORK, str(stored), without],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        input=json.dumps(LIBRARIES),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made, places = json.loads(done.stdout)
    return made, places


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("work")
    real, found = work(folder)
    assert not [place for place in found.values() if str(place).startswith(str(SUBSTITUTES))]
    replaced, found = work(folder, SUBSTITUTES, without="cytoolz")
    assert [n for n, p in found.items() if not str(p).startswith(str(SUBSTITUTES))] == []
    return {"real": real, "replaced": replaced}


def test_the_same_work_has_the_same_results(results: Mapping[str, Any]) -> None:
    assert results["replaced"] == results["real"]
    assert results["real"]["stored"] == [_KEY]


def test_a_node_with_the_substitutes_runs_a_job(tmp_path: Path) -> None:
    """The libraries of its server and client import typing_extensions."""
    with EchoService(tmp_path) as echo:
        node = NodeProcess(
            {"containers": [{"id": "echo", "url": echo.url}]},
            tmp_path / "node",
            env={"PYTHONPATH": os.pathsep.join(map(str, (SUBSTITUTES, ROOT)))},
            fresh=True,
        )
        with node:
            api = Api(node.port)
            [result] = api.finished([api.submit("echo", {"n": 1})])
            assert result["status"] == "success"
            assert node.stop() == 0
        assert "Traceback" not in node.log()


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("from eth_account import Account as A; A.enable_unaudited_hdwallet_features();"
         " A.create_with_mnemonic()", "mnemonics"),
        ("from eth_account.typed_transactions.base import Blob; Blob(data=b'')", "a Blob"),
        ("from eth_keyfile import create_keyfile_json as c; c(bytes(31) + b'1', b'x', version=4,"
         " kdf='pbkdf2', iterations=1)", "version 4"),
    ],
    ids=["mnemonic", "blob", "version 4"],
)  # fmt: skip
def test_what_is_not_there_says_so(code: str, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SUBSTITUTES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "NotImplementedError" in done.stderr
    assert what in done.stderr.splitlines()[-1]
