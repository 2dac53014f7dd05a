"""Which subscriptions this node serves: the rules, the container look-up, the signer's check."""
