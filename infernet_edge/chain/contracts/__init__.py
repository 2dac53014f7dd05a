"""What the Infernet contracts take and give: subscriptions, requests, payloads, reverts, calls."""
