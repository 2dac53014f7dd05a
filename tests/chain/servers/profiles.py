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
        "servers without batches",
        "one error, -32600, for any batch",
        Behaviour(max_batch=1, batch_refusal="invalid_request"),
        "jsonrpc.org, specification, 6: batches",
    ),
    Profile(
        "servers that read one call",
        "the answer to the first call alone",
        Behaviour(max_batch=1, batch_refusal="first_only"),
        "small servers that decode one object",
    ),
    Profile(
        "gateways that check the body",
        "status 200 and a text",
        Behaviour(max_batch=1, batch_refusal="text"),
        "web application firewalls",
    ),
    Profile(
        "gateways that shorten batches",
        "the answers to the last calls are missing",
        Behaviour(max_batch=4, batch_refusal="truncated"),
        "limits that count calls",
    ),
    Profile(
        "gateways that split batches",
        "an error for each of the last calls",
        Behaviour(max_batch=4, batch_refusal="rest_refused"),
        "limits that count calls",
    ),
    Profile(
        "nginx before a node",
        "bodies of 2 KiB, status 413; 503 when requests come too fast",
        Behaviour(max_body=2048, requests_per_second=20, rate_refusal="503_html"),
        "nginx.org: client_max_body_size, limit_req_status",
    ),
    Profile(
        "servers that reorder batches",
        "answers in another order",
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
        "gateways that drop requests",
        "close the connection",
        Behaviour(requests_per_second=10, rate_refusal="closed"),
        "nginx.org, return 444",
    ),
    Profile(
        "limits of EIP-1474",
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
        "the smallest plans",
        "5 requests/s, no batches; status 429 without a body",
        Behaviour(
            max_batch=1, batch_refusal="invalid_request", requests_per_second=5, rate_refusal="429"
        ),
        "free plans of small providers",
    ),
]

ANSWERS = [
    Profile("anvil", "no limits", Behaviour(), "book.getfoundry.sh"),
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
        "Frontier",
        'no nonces at "pending": -32602',
        Behaviour(
            refuses_pending=frozenset({"eth_getTransactionCount"}), pending_refusal="unsupported"
        ),
        "polkadot-evm/frontier, issue 171",
    ),
    Profile(
        "clients without a pending block",
        'null for eth_getBlockByNumber of "pending"',
        Behaviour(refuses_pending=frozenset({"eth_getBlockByNumber"}), pending_refusal="null"),
        "ethereum/execution-apis: the block may be null",
    ),
    Profile(
        "gateways without types",
        "the chain id is a number, identifiers are texts",
        Behaviour(numeric_chain_id=True, ids_as_text=True),
        "gateways that decode and encode JSON",
    ),
    Profile(
        "Infura, Polygon",
        "some answers are one block old",
        Behaviour(lagging_share=0.3),
        "ethereum/go-ethereum, issue 27353",
    ),
    Profile(
        "slow links",
        "half a second for each answer",
        Behaviour(latency=0.5),
        "satellite and mobile links",
    ),
    Profile(
        "unreliable load balancers",
        "5 % of the requests are not answered",
        Behaviour(hang_share=0.05),
        "load balancers with a machine that has died",
    ),
    Profile(
        "gateways without eth_getLogs",
        "-32601",
        Behaviour(refused_methods=frozenset({"eth_getLogs"}), method_refusal="plan"),
        "QuickNode, methods of a plan",
    ),
    Profile(
        "clients before EIP-1559",
        "no eth_maxPriorityFeePerGas, no eth_feeHistory",
        Behaviour(
            refused_methods=frozenset({"eth_maxPriorityFeePerGas", "eth_feeHistory"}),
            method_refusal="not_available",
        ),
        "go-ethereum before 1.10",
    ),
    Profile(
        "many limits at once",
        'batches, calls/s, "pending", a floor of tips, slow answers',
        Behaviour(
            max_batch=3,
            batch_refusal="500_per_item",
            requests_per_second=20,
            counts_calls=True,
            rate_refusal="per_item",
            refuses_pending=_BY_TAG,
            pending_refusal="invalid",
            min_tip_wei=25 * GWEI,
            ids_as_text=True,
            latency=0.1,
        ),
        "free plans behind several gateways",
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
        "old clients",
        "a tip of 3 Gwei at least, which the error does not name",
        Behaviour(min_tip_wei=3 * GWEI, tip_refusal="unnamed"),
        "go-ethereum before 1.10, Erigon",
    ),
    Profile(
        "accounts with code (EIP-7702)",
        "one transaction in flight",
        Behaviour(max_in_flight=1),
        "go-ethereum, core/txpool/legacypool, ErrInflightTxLimitReached",
    ),
]

SECOND = [
    Profile(
        "clients without peers",
        "the head stands still",
        Behaviour(),
        "geth that has lost its consensus client",
        freezes=True,
        second=True,
    ),
    Profile(
        "Erigon that synchronizes",
        '"latest" is null',
        Behaviour(latest_is_null=True),
        "erigontech/erigon, issue 5893; node-real/bsc-erigon, issue 716",
        second=True,
    ),
    Profile(
        "gateways without eth_estimateGas",
        '"rpc method is not whitelisted", status 403',
        Behaviour(refused_methods=frozenset({"eth_estimateGas"})),
        "ethereum-optimism/infra, proxyd/backend.go, ErrMethodNotWhitelisted",
        second=True,
    ),
    Profile(
        "gateways that only read",
        "no eth_sendRawTransaction",
        Behaviour(
            refused_methods=frozenset({"eth_sendRawTransaction"}), method_refusal="not_available"
        ),
        "go-ethereum, rpc/errors.go",
        second=True,
    ),
    Profile(
        "wrong keys",
        "status 401",
        Behaviour(
            status=401,
            body=b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Unauthorized"},"id":null}',
        ),
        "nodereal: MegaNode, handling errors",
        second=True,
    ),
    Profile(
        "unreliable load balancers, with a second server",
        "20 % of the requests are not answered",
        Behaviour(hang_share=0.2),
        "load balancers with a machine that has died",
        second=True,
    ),
    Profile(
        "used up plans",
        "status 402",
        Behaviour(requests_per_second=0.001, burst=5, rate_refusal="402"),
        "docs.metamask.io, avoid rate limiting",
        second=True,
    ),
]

PROFILES = (*ANSWERS, *BATCHES, *RATES, *TRANSACTIONS, *SECOND)
