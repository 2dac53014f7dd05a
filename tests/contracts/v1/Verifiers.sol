// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {Registry} from "./Registry.sol";

interface IVerifier {
    function getWallet() external view returns (address);
    function isSupportedToken(address token) external view returns (bool);
    function fee(address token) external view returns (uint256);
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external;
}

interface IProofFinalizer {
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
}

/// A verifier whose wallet is itself; anybody may change its fees and tokens.
abstract contract Verifier is IVerifier {
    IProofFinalizer internal immutable coordinator;
    mapping(address token => uint256) public fee;
    mapping(address token => bool) public isSupportedToken;

    constructor(Registry registry) {
        coordinator = IProofFinalizer(registry.COORDINATOR());
    }

    receive() external payable {}

    function getWallet() external view returns (address) {
        return address(this);
    }

    function support(address token, bool supported, uint256 fee_) external {
        isSupportedToken[token] = supported;
        fee[token] = fee_;
    }
}

/// Says at once whether a proof is valid: always what it was last told to say.
contract AtomicVerifier is Verifier {
    bool public verdict;

    constructor(Registry registry, bool verdict_) Verifier(registry) {
        verdict = verdict_;
    }

    function setVerdict(bool verdict_) external {
        verdict = verdict_;
    }

    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata)
        external
    {
        coordinator.finalizeProofVerification(subscriptionId, interval, node, verdict);
    }
}

/// Says later whether a proof is valid.
contract LazyVerifier is Verifier {
    event ProofReceived(uint32 indexed subscriptionId, uint32 interval, address indexed node, bytes proof);

    constructor(Registry registry) Verifier(registry) {}

    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external
    {
        emit ProofReceived(subscriptionId, interval, node, proof);
    }

    function finalize(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        coordinator.finalizeProofVerification(subscriptionId, interval, node, valid);
    }
}
