// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

struct Subscription {
    address owner;
    uint32 activeAt;
    uint32 period;
    uint32 frequency;
    uint16 redundancy;
    uint48 maxGasPrice;
    uint32 maxGasLimit;
    string containerId;
    bytes inputs;
}

interface IConsumerV0 {
    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) external;
}

interface IDelegatorV0 {
    function signer() external view returns (address);
}

/// Nodes register, wait an hour, and are active then.
abstract contract NodeManager {
    enum NodeStatus {
        Inactive,
        Registered,
        Active
    }

    struct NodeInfo {
        NodeStatus status;
        uint32 cooldownStart;
    }

    uint256 public constant cooldown = 1 hours;
    mapping(address node => NodeInfo) public nodeInfo;

    event NodeRegistered(address indexed node, address indexed registerer, uint32 cooldownStart);
    event NodeActivated(address indexed node);
    event NodeDeactivated(address indexed node);

    error NodeNotActive();
    error NodeNotRegisterable(address node, NodeStatus status);
    error CooldownActive(uint32 cooldownStart);
    error NodeNotActivateable(NodeStatus status);

    modifier onlyActiveNode() {
        if (nodeInfo[msg.sender].status != NodeStatus.Active) revert NodeNotActive();
        _;
    }

    function registerNode(address node) external {
        NodeStatus status = nodeInfo[node].status;
        if (status != NodeStatus.Inactive) revert NodeNotRegisterable(node, status);
        nodeInfo[node] = NodeInfo(NodeStatus.Registered, uint32(block.timestamp));
        emit NodeRegistered(node, msg.sender, uint32(block.timestamp));
    }

    function activateNode() external {
        NodeInfo memory info = nodeInfo[msg.sender];
        if (info.status != NodeStatus.Registered) revert NodeNotActivateable(info.status);
        if (block.timestamp < info.cooldownStart + cooldown) revert CooldownActive(info.cooldownStart);
        nodeInfo[msg.sender] = NodeInfo(NodeStatus.Active, 0);
        emit NodeActivated(msg.sender);
    }

    function deactivateNode() external {
        delete nodeInfo[msg.sender];
        emit NodeDeactivated(msg.sender);
    }
}

/// The coordinator of SDK 0.1, with delegated delivery.
contract CoordinatorV0 is NodeManager {
    string public constant EIP712_VERSION = "1";
    string public constant EIP712_NAME = "InfernetCoordinator";

    // Gas that the coordinator itself is taken to use, besides the consumer.
    uint256 public constant DELIVERY_OVERHEAD_WEI = 56_600;
    uint256 public constant DELEGATEE_OVERHEAD_CACHED_WEI = 600;
    uint256 public constant DELEGATEE_OVERHEAD_CREATE_WEI = 91_200;

    bytes private constant SUBSCRIPTION_TYPE =
        "Subscription(address owner,uint32 activeAt,uint32 period,uint32 frequency,uint16 redundancy,uint48 maxGasPrice,uint32 maxGasLimit,string containerId,bytes inputs)";
    bytes private constant DELEGATE_TYPE =
        "DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub)";

    uint32 public id = 1;
    mapping(bytes32 key => bool) public nodeResponded;
    mapping(bytes32 key => uint16) public redundancyCount;
    mapping(uint32 id => Subscription) public subscriptions;
    mapping(address owner => uint32) public maxSubscriberNonce;
    mapping(bytes32 key => uint32) public delegateCreatedIds;

    event SubscriptionCreated(uint32 indexed id);
    event SubscriptionCancelled(uint32 indexed id);
    event SubscriptionFulfilled(uint32 indexed id, address indexed node);

    error GasPriceExceeded();
    error GasLimitExceeded();
    error IntervalMismatch();
    error IntervalCompleted();
    error NodeRespondedAlready();
    error SubscriptionNotFound();
    error NotSubscriptionOwner();
    error SubscriptionCompleted();
    error SubscriptionNotActive();
    error SignerMismatch();
    error SignatureExpired();
    error InvalidSignature();

    function createSubscription(
        string memory containerId,
        bytes calldata inputs,
        uint48 maxGasPrice,
        uint32 maxGasLimit,
        uint32 frequency,
        uint32 period,
        uint16 redundancy
    ) external returns (uint32) {
        return store(
            Subscription({
                owner: msg.sender,
                activeAt: uint32(block.timestamp) + period,
                period: period,
                frequency: frequency,
                redundancy: redundancy,
                maxGasPrice: maxGasPrice,
                maxGasLimit: maxGasLimit,
                containerId: containerId,
                inputs: inputs
            })
        );
    }

    function cancelSubscription(uint32 subscriptionId) external {
        if (subscriptions[subscriptionId].owner != msg.sender) revert NotSubscriptionOwner();
        delete subscriptions[subscriptionId];
        emit SubscriptionCancelled(subscriptionId);
    }

    function getSubscriptionInterval(uint32 activeAt, uint32 period) public view returns (uint32) {
        if (period == 0) return 1;
        unchecked {
            return (uint32(block.timestamp) - activeAt) / period + 1;
        }
    }

    function deliverCompute(
        uint32 subscriptionId,
        uint32 deliveryInterval,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) external onlyActiveNode {
        deliver(subscriptionId, deliveryInterval, input, output, proof, 0);
    }

    /// Returns the subscription's id, and whether it was there already.
    function createSubscriptionDelegatee(
        uint32 nonce,
        uint32 expiry,
        Subscription calldata sub,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) public returns (uint32, bool) {
        bytes32 key = keccak256(abi.encode(sub.owner, nonce));
        uint32 subscriptionId = delegateCreatedIds[key];
        if (subscriptionId != 0) return (subscriptionId, true);
        if (uint32(block.timestamp) >= expiry) revert SignatureExpired();
        address signer = ecrecover(digest(nonce, expiry, sub), v, r, s);
        if (signer == address(0)) revert InvalidSignature();
        if (signer != IDelegatorV0(sub.owner).signer()) revert SignerMismatch();
        subscriptionId = store(sub);
        delegateCreatedIds[key] = subscriptionId;
        if (nonce > maxSubscriberNonce[sub.owner]) maxSubscriberNonce[sub.owner] = nonce;
        return (subscriptionId, false);
    }

    function deliverComputeDelegatee(
        uint32 nonce,
        uint32 expiry,
        Subscription calldata sub,
        uint8 v,
        bytes32 r,
        bytes32 s,
        uint32 deliveryInterval,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) external onlyActiveNode {
        (uint32 subscriptionId, bool cached) = createSubscriptionDelegatee(nonce, expiry, sub, v, r, s);
        uint256 overhead = cached ? DELEGATEE_OVERHEAD_CACHED_WEI : DELEGATEE_OVERHEAD_CREATE_WEI;
        deliver(subscriptionId, deliveryInterval, input, output, proof, overhead);
    }

    function store(Subscription memory sub) private returns (uint32 subscriptionId) {
        subscriptionId = id++;
        subscriptions[subscriptionId] = sub;
        emit SubscriptionCreated(subscriptionId);
    }

    function deliver(
        uint32 subscriptionId,
        uint32 interval,
        bytes memory input,
        bytes memory output,
        bytes memory proof,
        uint256 overhead
    ) private {
        uint16 redundancy = claim(subscriptionId, interval);
        Subscription storage sub = subscriptions[subscriptionId];
        uint256 gasBefore = gasleft();
        IConsumerV0(sub.owner).rawReceiveCompute(
            subscriptionId, interval, redundancy, msg.sender, input, output, proof
        );
        if (gasBefore - gasleft() + overhead + DELIVERY_OVERHEAD_WEI > sub.maxGasLimit) revert GasLimitExceeded();
        emit SubscriptionFulfilled(subscriptionId, msg.sender);
    }

    /// Checks that the sender may answer this interval now, and notes that it has.
    function claim(uint32 subscriptionId, uint32 deliveryInterval) private returns (uint16 redundancy) {
        Subscription storage sub = subscriptions[subscriptionId];
        if (sub.owner == address(0)) revert SubscriptionNotFound();
        if (block.timestamp < sub.activeAt) revert SubscriptionNotActive();
        uint32 interval = getSubscriptionInterval(sub.activeAt, sub.period);
        if (interval != deliveryInterval) revert IntervalMismatch();
        if (interval > sub.frequency) revert SubscriptionCompleted();
        if (tx.gasprice > sub.maxGasPrice) revert GasPriceExceeded();
        bytes32 key = keccak256(abi.encode(subscriptionId, interval));
        redundancy = redundancyCount[key];
        if (redundancy == sub.redundancy) revert IntervalCompleted();
        redundancyCount[key] = ++redundancy;
        key = keccak256(abi.encode(subscriptionId, interval, msg.sender));
        if (nodeResponded[key]) revert NodeRespondedAlready();
        nodeResponded[key] = true;
    }

    function digest(uint32 nonce, uint32 expiry, Subscription calldata sub) private view returns (bytes32) {
        bytes32 typeHash = keccak256(bytes.concat(DELEGATE_TYPE, SUBSCRIPTION_TYPE));
        bytes32 structHash = keccak256(abi.encode(typeHash, nonce, expiry, hash(sub)));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(EIP712_NAME)),
                keccak256(bytes(EIP712_VERSION)),
                block.chainid,
                address(this)
            )
        );
        return keccak256(bytes.concat("\x19\x01", domain, structHash));
    }

    function hash(Subscription calldata sub) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(SUBSCRIPTION_TYPE),
                sub.owner,
                sub.activeAt,
                sub.period,
                sub.frequency,
                sub.redundancy,
                sub.maxGasPrice,
                sub.maxGasLimit,
                keccak256(bytes(sub.containerId)),
                keccak256(sub.inputs)
            )
        );
    }
}
