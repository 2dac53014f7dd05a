"""The JSON-RPC servers that the node is tried against, as behaviours of a proxy.

Limits that a server's operator chooses are low here, so that some callbacks already exceed them.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.rpc_behaviours import Behaviour

GWEI = 10**9

_BY_TAG = frozenset(
    {
        "eth_getTransactionCount",
        "eth_getBlockByNumber",
        "eth_call",
        "eth_estimateGas",
        "eth_getBalance",
        "eth_createAccessList",
    }
)


class Profile(NamedTuple):
    """A server: its name, what it does (both for the documentation), and where that is written.

    `freezes`: its head stands still from the beginning of a run on. `second`: it is of no use, so a
    second server that works stands behind it in chain.rpc_url.
    """

    name: str
    does: str
    behaviour: Behaviour
    source: str
    freezes: bool = False
    second: bool = False


BATCHES = [
    Profile(
        "geth",
        'a list with one error, "batch too large"',
        Behaviour(max_batch=5, batch_refusal="list_of_one_error"),
        "go-ethereum, rpc/handler.go, respondWithBatchTooLarge",
    ),
    Profile(
        "Erigon 2, 3.0",
        "one error for the whole batch",
        Behaviour(max_batch=5, batch_refusal="error_object"),
        "erigontech/erigon, issue 17245",
    ),
    Profile(
        "Erigon 3.4",
        "a list with one error, which belongs to no call",
        Behaviour(max_batch=5, batch_refusal="list_of_one_null_id"),
        "erigontech/erigon, pull request 18260",
    ),
    Profile(
        "Erigon, over HTTP",
        "closes the connection",
        Behaviour(max_batch=5, batch_refusal="closed"),
        "erigontech/erigon, issue 18074",
    ),
    Profile(
        "Nethermind",
        "status 503 with an error",
        Behaviour(max_batch=5, batch_refusal="503_with_body"),
        "NethermindEth/nethermind, JsonRpc error codes and status of LimitExceeded",
    ),
    Profile(
        "Besu",
        "one error, -32005",
        Behaviour(max_batch=5, batch_refusal="besu"),
        "besu-eth/besu, RpcErrorType.EXCEEDS_RPC_MAX_BATCH_SIZE",
    ),
    Profile(
        "reth",
        "one error, -32010",
        Behaviour(max_batch=5, batch_refusal="jsonrpsee"),
        "paritytech/jsonrpsee, reject_too_big_batch_request",
    ),
    Profile(
        "dRPC, free",
        "3 calls, status 500 with an error, requests are limited",
        Behaviour(
            max_batch=3,
            batch_refusal="500_with_body",
            requests_per_second=20,
            rate_refusal="drpc",
            latency=0.02,
        ),
        'drpc.org, error 31: "Batch of more than 3 requests are not allowed on free tier"',
    ),
    Profile(
        "1RPC",
        "3 calls, status 500 with an error for each call",
        Behaviour(max_batch=3, batch_refusal="500_per_item"),
        "1rpc.io, the same error 31",
    ),
    Profile(
        "Ronin",
        "3 calls, status 400",
        Behaviour(max_batch=3, batch_refusal="400_with_body"),
        'api.roninchain.com: "batch of more than 3 results in response 400"',
    ),
    Profile(
        "NodeReal",
        "an error for the whole batch",
        Behaviour(max_batch=5, batch_refusal="limit_500"),
        "nodereal: MegaNode, handling errors, -32005",
    ),
    Profile(
        "no batches",
        "one error, -32600",
        Behaviour(max_batch=1, batch_refusal="invalid_request"),
        "jsonrpc.org, specification, 6: batches",
    ),
    Profile(
        "no batches, answers the first call",
        "one answer for all",
        Behaviour(max_batch=1, batch_refusal="first_only"),
        "small servers that decode one object",
    ),
    Profile(
        "no batches, says so in a text",
        "status 200, no JSON",
        Behaviour(max_batch=1, batch_refusal="text"),
        "gateways that check the body",
    ),
    Profile(
        "answers the first calls of a batch",
        "the others are missing",
        Behaviour(max_batch=4, batch_refusal="truncated"),
        "gateways that split batches",
    ),
    Profile(
        "refuses the last calls of a batch",
        "an error each",
        Behaviour(max_batch=4, batch_refusal="rest_refused"),
        "gateways that split batches",
    ),
    Profile(
        "nginx before a node",
        "bodies of 2 KiB, status 413; 503 when requests come too fast",
        Behaviour(max_body=2048, requests_per_second=20, rate_refusal="503_html"),
        "nginx.org: client_max_body_size, limit_req_status",
    ),
    Profile(
        "answers batches in another order",
        "which JSON-RPC allows",
        Behaviour(reversed_batch=True),
        "jsonrpc.org, specification, 6",
    ),
]

RATES = [
    Profile(
        "Alchemy, free",
        "a part of a batch is refused with error 429, status 200",
        Behaviour(requests_per_second=25, counts_calls=True, rate_refusal="per_item"),
        "docs.alchemy.com, throughput; error reference",
    ),
    Profile(
        "Alchemy, whole requests",
        "status 429 with an error",
        Behaviour(requests_per_second=10, rate_refusal="alchemy", retry_after="1"),
        "docs.alchemy.com, throughput",
    ),
    Profile(
        "Infura, free",
        "status 429, -32005",
        Behaviour(requests_per_second=10, rate_refusal="infura"),
        "docs.metamask.io, avoid rate limiting",
    ),
    Profile(
        "QuickNode, free",
        "15 requests/s, status 429, -32007",
        Behaviour(requests_per_second=15, rate_refusal="quicknode"),
        "quicknode.com, error references",
    ),
    Profile(
        "Ankr, public",
        "30 calls/s, status 429, -32090",
        Behaviour(requests_per_second=30, counts_calls=True, rate_refusal="ankr"),
        "ankr.com, service plans",
    ),
    Profile(
        "PublicNode",
        "status 429 with a page",
        Behaviour(requests_per_second=10, rate_refusal="429_html"),
        "publicnode.com behind a load balancer",
    ),
    Profile(
        "Cloudflare",
        "status 429, error 1015",
        Behaviour(requests_per_second=10, rate_refusal="429_text", retry_after="1"),
        "developers.cloudflare.com, error 1015",
    ),
    Profile(
        "Optimism, Base (proxyd)",
        "10 calls in a batch; status 429, -32016",
        Behaviour(
            max_batch=10, batch_refusal="proxyd", requests_per_second=10, rate_refusal="proxyd"
        ),
        "ethereum-optimism/infra, proxyd/backend.go",
    ),
    Profile(
        "X Layer (proxyd)",
        "7 requests/s, 10 calls in a batch",
        Behaviour(
            max_batch=10, batch_refusal="proxyd", requests_per_second=7, rate_refusal="200_list"
        ),
        "xlayerrpc.okx.com, its headers",
    ),
    Profile(
        "Chainstack",
        "status 403 with an error",
        Behaviour(requests_per_second=10, rate_refusal="403_with_body"),
        'chainstack.com: "You\'ve exceeded the RPS limit"',
    ),
    Profile(
        "says the rate in an error",
        "status 200, -32005",
        Behaviour(requests_per_second=10, rate_refusal="200_error"),
        "EIP-1474, limit exceeded",
    ),
    Profile(
        "Nethermind, overloaded",
        "status 503, -32005",
        Behaviour(requests_per_second=10, rate_refusal="503_with_body"),
        "NethermindEth/nethermind, JsonRpc errors",
    ),
    Profile(
        "5 requests/s, no batches",
        "status 429 without a word",
        Behaviour(
            max_batch=1, batch_refusal="invalid_request", requests_per_second=5, rate_refusal="429"
        ),
        "the smallest free plans",
    ),
]

ANSWERS = [
    Profile("anvil", "everything", Behaviour(), "book.getfoundry.sh"),
    Profile(
        "Avalanche (coreth)",
        'refuses "pending" everywhere: "cannot query unfinalized data"',
        Behaviour(refuses_pending=_BY_TAG, pending_refusal="unfinalized"),
        "ava-labs/coreth, allow-unfinalized-queries",
    ),
    Profile(
        "geth without a miner",
        'knows "pending" for nonces alone',
        Behaviour(
            refuses_pending=_BY_TAG - {"eth_getTransactionCount"}, pending_refusal="unavailable"
        ),
        "go-ethereum, eth/api_backend.go",
    ),
    Profile(
        'refuses nonces at "pending"',
        "-32602",
        Behaviour(
            refuses_pending=frozenset({"eth_getTransactionCount"}), pending_refusal="unsupported"
        ),
        "polkadot-evm/frontier, issue 171",
    ),
    Profile(
        'answers null for "pending"',
        "eth_getBlockByNumber",
        Behaviour(refuses_pending=frozenset({"eth_getBlockByNumber"}), pending_refusal="null"),
        "ethereum/execution-apis: the block may be null",
    ),
    Profile(
        "gives the chain's number as a number",
        "and identifiers as texts",
        Behaviour(numeric_chain_id=True, ids_as_text=True),
        "gateways in languages without types",
    ),
    Profile(
        "Infura, Polygon",
        "some answers are one block old",
        Behaviour(lagging_share=0.3),
        "ethereum/go-ethereum, issue 27353",
    ),
    Profile(
        "far away",
        "half a second for each answer",
        Behaviour(latency=0.5),
        "satellite and mobile links",
    ),
    Profile(
        "hangs at times",
        "5 % of the requests are not answered",
        Behaviour(hang_share=0.05),
        "load balancers with a machine that has died",
    ),
]

TRANSACTIONS = [
    Profile(
        "Polygon (bor)",
        "a tip of 25 Gwei at least",
        Behaviour(min_tip_wei=25 * GWEI),
        "maticnetwork/bor, txpool.pricelimit",
    ),
    Profile(
        "says only that the tip is too low",
        "a tip of 3 Gwei at least",
        Behaviour(min_tip_wei=3 * GWEI, tip_refusal="unnamed"),
        "go-ethereum before 1.10, Erigon",
    ),
    Profile(
        "an account with code (EIP-7702)",
        "one transaction in flight",
        Behaviour(max_in_flight=1),
        "go-ethereum, core/txpool/legacypool, ErrInflightTxLimitReached",
    ),
]

SECOND = [
    Profile(
        "stopped at a block",
        "its head stands still; the second server is used",
        Behaviour(),
        "a client without peers",
        freezes=True,
        second=True,
    ),
    Profile(
        "Erigon that synchronizes",
        '"latest" is null; the second server is used',
        Behaviour(latest_is_null=True),
        "erigontech/erigon, issue 5893; node-real/bsc-erigon, issue 716",
        second=True,
    ),
    Profile(
        "a gateway without eth_estimateGas",
        '"rpc method is not whitelisted"; the second server is asked',
        Behaviour(refused_methods=frozenset({"eth_estimateGas"})),
        "ethereum-optimism/infra, proxyd/backend.go, ErrMethodNotWhitelisted",
        second=True,
    ),
    Profile(
        "a gateway that only reads",
        "no eth_sendRawTransaction; the second server is asked",
        Behaviour(
            refused_methods=frozenset({"eth_sendRawTransaction"}), method_refusal="not_available"
        ),
        "go-ethereum, rpc/errors.go",
        second=True,
    ),
    Profile(
        "a key that is wrong",
        "status 401; the second server is used",
        Behaviour(
            status=401,
            body=b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Unauthorized"},"id":null}',
        ),
        "nodereal: MegaNode, handling errors",
        second=True,
    ),
    Profile(
        "hangs at times, with a second server",
        "20 % of the requests are not answered",
        Behaviour(hang_share=0.2),
        "load balancers with a machine that has died",
        second=True,
    ),
    Profile(
        "a day's requests are used up",
        "status 402; the second server is used",
        Behaviour(requests_per_second=0.001, burst=5, rate_refusal="402"),
        "docs.metamask.io, avoid rate limiting",
        second=True,
    ),
]

PROFILES = (*ANSWERS, *BATCHES, *RATES, *TRANSACTIONS, *SECOND)
