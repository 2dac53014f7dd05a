// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {EIP712Coordinator, IConsumer, IDelegator} from "./Coordinator.sol";
import {Registry} from "./Registry.sol";

/// Records what is delivered to it.
abstract contract Consumer is IConsumer {
    struct Received {
        uint32 subscriptionId;
        uint32 interval;
        uint16 redundancy;
        address node;
        bytes input;
        bytes output;
        bytes proof;
        bytes32 containerId;
        uint256 index;
        uint256 timestamp;
    }

    EIP712Coordinator internal immutable coordinator;
    Received[] private deliveries;

    error NotCoordinator();

    constructor(Registry registry) {
        coordinator = EIP712Coordinator(registry.COORDINATOR());
    }

    function deliveryCount() external view returns (uint256) {
        return deliveries.length;
    }

    function delivery(uint256 index) external view returns (Received memory) {
        return deliveries[index];
    }

    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes memory input,
        bytes memory output,
        bytes memory proof,
        bytes32 containerId,
        uint256 index
    ) external {
        if (msg.sender != address(coordinator)) revert NotCoordinator();
        check(node, output);
        Received storage received = deliveries.push();
        received.subscriptionId = subscriptionId;
        received.interval = interval;
        received.redundancy = redundancy;
        received.node = node;
        received.input = input;
        received.output = output;
        received.proof = proof;
        received.containerId = containerId;
        received.index = index;
        received.timestamp = block.timestamp;
    }

    /// Reverts when this consumer does not want the delivery.
    function check(address node, bytes memory output) internal virtual {}
}

/// Asks once, for money or for nothing; the input is stored.
contract CallbackConsumer is Consumer {
    mapping(uint32 subscriptionId => bytes) private inputs;

    constructor(Registry registry) Consumer(registry) {}

    function requestCompute(
        string calldata containerId,
        bytes memory input,
        uint16 redundancy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32 subscriptionId) {
        subscriptionId = coordinator.createSubscription(
            containerId, 1, 0, redundancy, false, paymentToken, paymentAmount, wallet, verifier
        );
        inputs[subscriptionId] = input;
    }

    function cancelSubscription(uint32 subscriptionId) external {
        coordinator.cancelSubscription(subscriptionId);
    }

    function getContainerInputs(uint32 subscriptionId, uint32, uint32, address) external view returns (bytes memory) {
        return inputs[subscriptionId];
    }
}

/// Asks again and again; the input says what was asked: (id, interval, timestamp, caller), unless it is set.
contract SubscriptionConsumer is Consumer {
    bytes private input;
    bool private inputReverts;

    constructor(Registry registry) Consumer(registry) {}

    function setInput(bytes calldata input_, bool inputReverts_) external {
        input = input_;
        inputReverts = inputReverts_;
    }

    function createSubscription(
        string calldata containerId,
        uint32 frequency,
        uint32 period,
        uint16 redundancy,
        bool lazy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32) {
        return coordinator.createSubscription(
            containerId, frequency, period, redundancy, lazy, paymentToken, paymentAmount, wallet, verifier
        );
    }

    function cancelSubscription(uint32 subscriptionId) external {
        coordinator.cancelSubscription(subscriptionId);
    }

    function getContainerInputs(uint32 subscriptionId, uint32 interval, uint32 timestamp, address caller)
        external
        view
        returns (bytes memory)
    {
        require(!inputReverts, "no input today");
        return input.length > 0 ? input : abi.encode(subscriptionId, interval, timestamp, caller);
    }
}

/// Subscriptions in its name are signed by somebody.
contract DelegatedConsumer is Consumer, IDelegator {
    address private signer;

    constructor(Registry registry, address signer_) Consumer(registry) {
        signer = signer_;
    }

    function updateSigner(address signer_) external {
        signer = signer_;
    }

    function getSigner() external view virtual returns (address) {
        return signer;
    }

    function cancelSubscription(uint32 subscriptionId) external {
        coordinator.cancelSubscription(subscriptionId);
    }
}

/// Does not say who signs for it.
contract SignerlessConsumer is DelegatedConsumer {
    constructor(Registry registry) DelegatedConsumer(registry, address(0)) {}

    function getSigner() external pure override returns (address) {
        revert("no signer");
    }
}

/// Takes deliveries of some nodes only.
contract AllowlistConsumer is DelegatedConsumer {
    mapping(address node => bool) public isAllowedNode;

    error NodeNotAllowed();

    constructor(Registry registry, address signer) DelegatedConsumer(registry, signer) {}

    function allow(address node, bool allowed) external {
        isAllowedNode[node] = allowed;
    }

    function createSubscription(string calldata containerId) external returns (uint32) {
        return coordinator.createSubscription(
            containerId, 1, 0, 1, false, address(0), 0, address(0), address(0)
        );
    }

    function check(address node, bytes memory) internal view override {
        if (!isAllowedNode[node]) revert NodeNotAllowed();
    }
}

/// Refuses deliveries in each way in which a contract can.
contract RevertingConsumer is DelegatedConsumer {
    enum Mode {
        Accept,
        Text, // Error(string)
        Custom, // OutOfStock(uint256)
        Panic, // Panic(uint256): 0x01
        Silent, // without data
        Gas, // uses up all gas
        Decode, // without data, unless the output decodes as (bytes, bytes)
        OnChain // OutOfStock(uint256) in a transaction only, never in a simulation
    }

    Mode public mode;
    string public text = "not today";

    error OutOfStock(uint256 stock);

    constructor(Registry registry, address signer) DelegatedConsumer(registry, signer) {}

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setText(string calldata text_) external {
        text = text_;
    }

    function createSubscription(string calldata containerId, uint32 frequency, uint32 period)
        external
        returns (uint32)
    {
        return coordinator.createSubscription(
            containerId, frequency, period, 1, false, address(0), 0, address(0), address(0)
        );
    }

    function check(address, bytes memory output) internal view override {
        if (mode == Mode.Text) revert(text);
        if (mode == Mode.Custom) revert OutOfStock(7);
        if (mode == Mode.Panic) assert(false);
        if (mode == Mode.Silent) revert();
        if (mode == Mode.Gas) while (true) {}
        if (mode == Mode.Decode) abi.decode(output, (bytes, bytes));
        // A call without a gas price is a simulation.
        if (mode == Mode.OnChain && tx.gasprice > 0) revert OutOfStock(0);
    }
}
