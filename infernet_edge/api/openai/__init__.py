"""OpenAI's API in front of the containers that have models.

Clients of https://platform.openai.com/docs/api-reference use the node without a change: its models,
chats, completions and embeddings. Each request is a job. Only `routes.py` is imported before the
first request.
"""
