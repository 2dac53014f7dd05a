// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {Coordinated, Registry} from "./Registry.sol";

/// Keeps the answers of lazy subscriptions until somebody reads them.
contract Inbox is Coordinated {
    struct InboxItem {
        uint32 timestamp;
        uint32 subscriptionId;
        uint32 interval;
        bytes input;
        bytes output;
        bytes proof;
    }

    mapping(bytes32 containerId => mapping(address node => InboxItem[])) private items;

    event NewInboxItem(bytes32 indexed containerId, address indexed node, uint256 index);

    constructor(Registry registry) Coordinated(registry) {}

    function read(bytes32 containerId, address node, uint256 index) external view returns (InboxItem memory) {
        return items[containerId][node][index];
    }

    function write(bytes32 containerId, bytes memory input, bytes memory output, bytes memory proof)
        external
        returns (uint256)
    {
        return store(containerId, msg.sender, 0, 0, input, output, proof);
    }

    function writeViaCoordinator(
        bytes32 containerId,
        address node,
        uint32 subscriptionId,
        uint32 interval,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) external onlyCoordinator returns (uint256) {
        return store(containerId, node, subscriptionId, interval, input, output, proof);
    }

    function store(
        bytes32 containerId,
        address node,
        uint32 subscriptionId,
        uint32 interval,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) private returns (uint256 index) {
        InboxItem[] storage box = items[containerId][node];
        index = box.length;
        box.push(InboxItem(uint32(block.timestamp), subscriptionId, interval, input, output, proof));
        emit NewInboxItem(containerId, node, index);
    }
}
