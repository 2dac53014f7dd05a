// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

/// Where the contracts of one deployment are found.
contract Registry {
    address public immutable COORDINATOR;
    address public immutable INBOX;
    address public immutable READER;
    address public immutable FEE;
    address public immutable WALLET_FACTORY;

    constructor(address coordinator, address inbox, address reader, address fee, address walletFactory) {
        COORDINATOR = coordinator;
        INBOX = inbox;
        READER = reader;
        FEE = fee;
        WALLET_FACTORY = walletFactory;
    }
}

/// A contract that takes some calls from the registry's coordinator only.
abstract contract Coordinated {
    address private immutable coordinator;

    error NotCoordinator();

    constructor(Registry registry) {
        coordinator = registry.COORDINATOR();
    }

    modifier onlyCoordinator() {
        if (msg.sender != coordinator) revert NotCoordinator();
        _;
    }
}

/// A contract with one owner.
abstract contract Owned {
    address public owner;

    event OwnershipTransferred(address indexed oldOwner, address indexed newOwner);

    error Unauthorized();

    constructor(address initialOwner) {
        owner = initialOwner;
        emit OwnershipTransferred(address(0), initialOwner);
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert Unauthorized();
        _;
    }

    function transferOwnership(address newOwner) external onlyOwner {
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
    }
}
