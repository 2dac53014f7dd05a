"""HTTP/1.1 for the calls of containers: what a job passes is as short as it can be.

client = HttpClient()
async with await client.request("POST", parse_url("http://127.0.0.1:3000/x"), body=b"{}") as got:
    got.status, await got.read()
"""
