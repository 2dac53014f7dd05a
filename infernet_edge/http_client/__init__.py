"""HTTP/1.1 for containers, JSON-RPC servers, other nodes and registries.

Each job calls a container, so the way of a request is as short as it can be.

client = HttpClient()
async with await client.request("POST", parse_url("http://127.0.0.1:3000/x"), body=b"{}") as got:
    got.status, await got.read()
"""
