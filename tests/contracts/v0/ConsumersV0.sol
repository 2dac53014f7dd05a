// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {CoordinatorV0, IConsumerV0, IDelegatorV0} from "./CoordinatorV0.sol";

/// Records what is delivered to it; subscriptions in its name are signed by somebody.
contract ConsumerV0 is IConsumerV0, IDelegatorV0 {
    struct Received {
        uint32 subscriptionId;
        uint32 interval;
        uint16 redundancy;
        address node;
        bytes input;
        bytes output;
        bytes proof;
        uint256 timestamp;
    }

    CoordinatorV0 private immutable coordinator;
    address public signer;
    string private refusal;
    Received[] private deliveries;

    error NotCoordinator();

    constructor(CoordinatorV0 coordinator_, address signer_) {
        coordinator = coordinator_;
        signer = signer_;
    }

    function deliveryCount() external view returns (uint256) {
        return deliveries.length;
    }

    function delivery(uint256 index) external view returns (Received memory) {
        return deliveries[index];
    }

    function updateSigner(address signer_) external {
        signer = signer_;
    }

    /// From now on, deliveries revert with this text; "" takes them.
    function refuse(string calldata text) external {
        refusal = text;
    }

    function createSubscription(string calldata containerId, bytes calldata inputs, uint32 frequency, uint32 period)
        external
        returns (uint32)
    {
        return coordinator.createSubscription(
            containerId, inputs, type(uint48).max, type(uint32).max, frequency, period, 1
        );
    }

    function cancelSubscription(uint32 subscriptionId) external {
        coordinator.cancelSubscription(subscriptionId);
    }

    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) external {
        if (msg.sender != address(coordinator)) revert NotCoordinator();
        if (bytes(refusal).length > 0) revert(refusal);
        Received storage received = deliveries.push();
        received.subscriptionId = subscriptionId;
        received.interval = interval;
        received.redundancy = redundancy;
        received.node = node;
        received.input = input;
        received.output = output;
        received.proof = proof;
        received.timestamp = block.timestamp;
    }
}
