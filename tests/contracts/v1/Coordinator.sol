// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {Inbox} from "./Inbox.sol";
import {Fee, Wallet, WalletFactory} from "./Payments.sol";
import {Registry} from "./Registry.sol";
import {IVerifier} from "./Verifiers.sol";

struct Subscription {
    address owner;
    uint32 activeAt;
    uint32 period;
    uint32 frequency;
    uint16 redundancy;
    bytes32 containerId;
    bool lazy;
    address verifier;
    uint256 paymentAmount;
    address paymentToken;
    address wallet;
}

interface IConsumer {
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
    ) external;
}

interface IDelegator {
    function getSigner() external view returns (address);
}

/// Takes subscriptions from contracts, and answers to them from nodes.
abstract contract Coordinator {
    struct ProofRequest {
        uint32 expiry;
        Wallet nodeWallet;
        uint256 consumerEscrowed;
    }

    /// One answer of a node, gathered to keep the stack short.
    struct Delivery {
        uint32 subscriptionId;
        uint32 interval;
        uint16 redundancy;
        bytes32 key;
        address nodeWallet;
    }

    Fee private immutable fees;
    Inbox private immutable inbox;
    WalletFactory private immutable walletFactory;

    uint32 public id = 1;
    mapping(bytes32 key => bool) public nodeResponded;
    mapping(bytes32 key => uint16) public redundancyCount;
    mapping(bytes32 key => ProofRequest) public proofRequests;
    mapping(uint32 id => Subscription) internal subscriptions;
    bool private entered;

    event SubscriptionCreated(uint32 indexed id);
    event SubscriptionCancelled(uint32 indexed id);
    event SubscriptionFulfilled(uint32 indexed id, address indexed node);

    error InvalidWallet();
    error IntervalMismatch();
    error IntervalCompleted();
    error UnauthorizedVerifier();
    error NodeRespondedAlready();
    error SubscriptionNotFound();
    error ProofRequestNotFound();
    error NotSubscriptionOwner();
    error SubscriptionCompleted();
    error SubscriptionNotActive();
    error UnsupportedVerifierToken();
    error Reentrancy();

    constructor(Registry registry) {
        fees = Fee(registry.FEE());
        inbox = Inbox(registry.INBOX());
        walletFactory = WalletFactory(registry.WALLET_FACTORY());
    }

    function getSubscription(uint32 subscriptionId) external view returns (Subscription memory) {
        return subscriptions[subscriptionId];
    }

    function createSubscription(
        string memory containerId,
        uint32 frequency,
        uint32 period,
        uint16 redundancy,
        bool lazy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32) {
        return store(
            Subscription({
                owner: msg.sender,
                activeAt: uint32(block.timestamp) + period,
                period: period,
                frequency: frequency,
                redundancy: redundancy,
                containerId: keccak256(abi.encode(containerId)),
                lazy: lazy,
                verifier: verifier,
                paymentAmount: paymentAmount,
                paymentToken: paymentToken,
                wallet: wallet
            })
        );
    }

    function cancelSubscription(uint32 subscriptionId) external {
        if (subscriptions[subscriptionId].owner != msg.sender) revert NotSubscriptionOwner();
        subscriptions[subscriptionId].activeAt = type(uint32).max;
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
        bytes memory proof,
        address nodeWallet
    ) public {
        if (entered) revert Reentrancy();
        entered = true;
        Subscription memory sub = subscriptions[subscriptionId];
        Delivery memory delivery = claim(sub, subscriptionId, deliveryInterval);
        delivery.nodeWallet = nodeWallet;
        if (sub.paymentAmount > 0) settle(sub, delivery, proof);
        hand(sub, delivery, input, output, proof);
        emit SubscriptionFulfilled(subscriptionId, msg.sender);
        entered = false;
    }

    /// The verifier's verdict; when it has given none for a week, anybody may finish in the node's favour.
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        bytes32 key = keccak256(abi.encode(subscriptionId, interval, node));
        ProofRequest memory request = proofRequests[key];
        if (request.expiry == 0) revert ProofRequestNotFound();
        Subscription memory sub = subscriptions[subscriptionId];
        Wallet consumer = Wallet(payable(sub.wallet));
        request.nodeWallet.cUnlock(node, sub.paymentToken, sub.paymentAmount);
        consumer.cUnlock(sub.owner, sub.paymentToken, request.consumerEscrowed);
        bool inTime = block.timestamp < request.expiry;
        if (inTime && sub.verifier != msg.sender) revert UnauthorizedVerifier();
        if (valid || !inTime) {
            consumer.cTransfer(sub.owner, sub.paymentToken, address(request.nodeWallet), request.consumerEscrowed);
        } else {
            request.nodeWallet.cTransfer(node, sub.paymentToken, sub.wallet, sub.paymentAmount);
        }
        delete proofRequests[key];
    }

    function store(Subscription memory sub) internal returns (uint32 subscriptionId) {
        subscriptionId = id++;
        subscriptions[subscriptionId] = sub;
        emit SubscriptionCreated(subscriptionId);
    }

    /// Checks that the sender may answer this interval now, and notes that it has.
    function claim(Subscription memory sub, uint32 subscriptionId, uint32 deliveryInterval)
        private
        returns (Delivery memory delivery)
    {
        if (sub.owner == address(0)) revert SubscriptionNotFound();
        if (uint32(block.timestamp) < sub.activeAt) revert SubscriptionNotActive();
        uint32 interval = getSubscriptionInterval(sub.activeAt, sub.period);
        if (interval != deliveryInterval) revert IntervalMismatch();
        if (interval > sub.frequency) revert SubscriptionCompleted();
        bytes32 key = keccak256(abi.encode(subscriptionId, interval));
        uint16 deliveries = redundancyCount[key];
        if (deliveries == sub.redundancy) revert IntervalCompleted();
        redundancyCount[key] = deliveries + 1;
        key = keccak256(abi.encode(subscriptionId, interval, msg.sender));
        if (nodeResponded[key]) revert NodeRespondedAlready();
        nodeResponded[key] = true;
        return Delivery(subscriptionId, interval, deliveries + 1, key, address(0));
    }

    /// Pays the protocol, and the node; with a verifier, the node only once its proof is found valid.
    function settle(Subscription memory sub, Delivery memory delivery, bytes memory proof) private {
        if (!walletFactory.isValidWallet(delivery.nodeWallet)) revert InvalidWallet();
        if (!walletFactory.isValidWallet(sub.wallet)) revert InvalidWallet();
        Wallet consumer = Wallet(payable(sub.wallet));
        uint256 toProtocol = share(sub.paymentAmount, fees.FEE() * 2);
        uint256 available = sub.paymentAmount - toProtocol;
        consumer.cTransfer(sub.owner, sub.paymentToken, fees.FEE_RECIPIENT(), toProtocol);
        if (sub.verifier == address(0)) {
            consumer.cTransfer(sub.owner, sub.paymentToken, delivery.nodeWallet, available);
        } else {
            escrow(sub, delivery, consumer, available, proof);
        }
    }

    function escrow(
        Subscription memory sub,
        Delivery memory delivery,
        Wallet consumer,
        uint256 available,
        bytes memory proof
    ) private {
        IVerifier verifier = IVerifier(sub.verifier);
        if (!verifier.isSupportedToken(sub.paymentToken)) revert UnsupportedVerifierToken();
        uint256 verifierFee = verifier.fee(sub.paymentToken);
        available -= verifierFee;
        uint256 toProtocol = share(verifierFee, fees.FEE());
        consumer.cTransfer(sub.owner, sub.paymentToken, fees.FEE_RECIPIENT(), toProtocol);
        consumer.cTransfer(sub.owner, sub.paymentToken, verifier.getWallet(), verifierFee - toProtocol);
        Wallet node = Wallet(payable(delivery.nodeWallet));
        node.cLock(msg.sender, sub.paymentToken, sub.paymentAmount);
        consumer.cLock(sub.owner, sub.paymentToken, available);
        proofRequests[delivery.key] = ProofRequest(uint32(block.timestamp) + 1 weeks, node, available);
        verifier.requestProofVerification(delivery.subscriptionId, delivery.interval, msg.sender, proof);
    }

    /// Gives the answer to the consumer, or, lazily, to the inbox and its place there to the consumer.
    function hand(
        Subscription memory sub,
        Delivery memory delivery,
        bytes memory input,
        bytes memory output,
        bytes memory proof
    ) private {
        (uint32 subscriptionId, uint32 interval) = (delivery.subscriptionId, delivery.interval);
        IConsumer consumer = IConsumer(sub.owner);
        if (sub.lazy) {
            uint256 index = inbox.writeViaCoordinator(
                sub.containerId, msg.sender, subscriptionId, interval, input, output, proof
            );
            consumer.rawReceiveCompute(
                subscriptionId, interval, delivery.redundancy, msg.sender, "", "", "", sub.containerId, index
            );
        } else {
            consumer.rawReceiveCompute(
                subscriptionId, interval, delivery.redundancy, msg.sender, input, output, proof, bytes32(0), 0
            );
        }
    }

    /// `fee` is in hundredths of a percent.
    function share(uint256 amount, uint16 fee) private pure returns (uint256) {
        return amount * fee / 10_000;
    }
}

/// Takes subscriptions also from nodes that show the owner's signature.
contract EIP712Coordinator is Coordinator {
    string public constant EIP712_VERSION = "1";
    string public constant EIP712_NAME = "InfernetCoordinator";

    bytes private constant SUBSCRIPTION_TYPE =
        "Subscription(address owner,uint32 activeAt,uint32 period,uint32 frequency,uint16 redundancy,bytes32 containerId,bool lazy,address verifier,uint256 paymentAmount,address paymentToken,address wallet)";
    bytes private constant DELEGATE_TYPE =
        "DelegateSubscription(uint32 nonce,uint32 expiry,Subscription sub)";

    mapping(address owner => uint32) public maxSubscriberNonce;
    mapping(bytes32 key => uint32) public delegateCreatedIds;

    error SignerMismatch();
    error SignatureExpired();
    error InvalidSignature();

    constructor(Registry registry) Coordinator(registry) {}

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
        if (signer != IDelegator(sub.owner).getSigner()) revert SignerMismatch();
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
        bytes memory proof,
        address nodeWallet
    ) external {
        (uint32 subscriptionId,) = createSubscriptionDelegatee(nonce, expiry, sub, v, r, s);
        deliverCompute(subscriptionId, deliveryInterval, input, output, proof, nodeWallet);
    }

    function digest(uint32 nonce, uint32 expiry, Subscription calldata sub) private view returns (bytes32) {
        // All fields are of fixed width: a struct's encoding is its type's hash followed by abi.encode(struct).
        bytes32 subHash = keccak256(bytes.concat(keccak256(SUBSCRIPTION_TYPE), abi.encode(sub)));
        bytes32 typeHash = keccak256(bytes.concat(DELEGATE_TYPE, SUBSCRIPTION_TYPE));
        bytes32 structHash = keccak256(abi.encode(typeHash, nonce, expiry, subHash));
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
}
