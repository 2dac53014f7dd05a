// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {Coordinator, Subscription} from "./Coordinator.sol";
import {Registry} from "./Registry.sol";

/// Reads many things of the coordinator in one call.
contract Reader {
    Coordinator private immutable coordinator;

    constructor(Registry registry) {
        coordinator = Coordinator(registry.COORDINATOR());
    }

    /// Subscriptions that do not exist are all zeros.
    function readSubscriptionBatch(uint32 startId, uint32 endId) external view returns (Subscription[] memory) {
        Subscription[] memory found = new Subscription[](endId - startId);
        for (uint32 i = 0; i < found.length; i++) {
            found[i] = coordinator.getSubscription(startId + i);
        }
        return found;
    }

    function readRedundancyCountBatch(uint32[] calldata ids, uint32[] calldata intervals)
        external
        view
        returns (uint16[] memory)
    {
        uint16[] memory counts = new uint16[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            counts[i] = coordinator.redundancyCount(keccak256(abi.encode(ids[i], intervals[i])));
        }
        return counts;
    }
}
