// SPDX-License-Identifier: BSD-3-Clause
pragma solidity ^0.8.20;

import {Coordinated, Owned, Registry} from "./Registry.sol";

interface IERC20 {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
}

/// The protocol's share of each payment, in hundredths of a percent; it goes to the owner.
contract Fee is Owned {
    uint16 public FEE;

    constructor(address recipient, uint16 fee) Owned(recipient) {
        FEE = fee;
    }

    function FEE_RECIPIENT() external view returns (address) {
        return owner;
    }

    function updateFee(uint16 fee) external onlyOwner {
        FEE = fee;
    }
}

/// Holds coins and tokens; the coordinator spends and escrows them for those whom the owner approved.
/// Token address 0 is the chain's coin.
contract Wallet is Owned, Coordinated {
    mapping(address token => uint256) private locked;
    mapping(address spender => mapping(address token => uint256)) public allowance;

    event Withdrawl(address token, uint256 amount);
    event Approval(address indexed spender, address token, uint256 amount);
    event Escrow(address indexed spender, address token, uint256 amount, bool locked);
    event Transfer(address indexed spender, address token, address indexed to, uint256 amount);

    error TransferFailed();
    error InsufficientFunds();
    error InsufficientAllowance();

    constructor(Registry registry, address initialOwner) Owned(initialOwner) Coordinated(registry) {}

    receive() external payable {}

    function approve(address spender, address token, uint256 amount) external onlyOwner {
        allowance[spender][token] = amount;
        emit Approval(spender, token, amount);
    }

    function withdraw(address token, uint256 amount) external onlyOwner {
        if (amount > unlocked(token)) revert InsufficientFunds();
        pay(token, msg.sender, amount);
        emit Withdrawl(token, amount);
    }

    function cTransfer(address spender, address token, address to, uint256 amount) external onlyCoordinator {
        spend(spender, token, amount);
        pay(token, to, amount);
        emit Transfer(spender, token, to, amount);
    }

    function cLock(address spender, address token, uint256 amount) external onlyCoordinator {
        if (amount > unlocked(token)) revert InsufficientFunds();
        spend(spender, token, amount);
        locked[token] += amount;
        emit Escrow(spender, token, amount, true);
    }

    function cUnlock(address spender, address token, uint256 amount) external onlyCoordinator {
        if (amount > locked[token]) revert InsufficientFunds();
        locked[token] -= amount;
        allowance[spender][token] += amount;
        emit Escrow(spender, token, amount, false);
    }

    function spend(address spender, address token, uint256 amount) private {
        if (amount > allowance[spender][token]) revert InsufficientAllowance();
        allowance[spender][token] -= amount;
    }

    function unlocked(address token) private view returns (uint256) {
        uint256 balance = token == address(0) ? address(this).balance : IERC20(token).balanceOf(address(this));
        return balance - locked[token];
    }

    function pay(address token, address to, uint256 amount) private {
        bool paid;
        if (token == address(0)) {
            (paid,) = payable(to).call{value: amount}("");
        } else {
            paid = IERC20(token).transfer(to, amount);
        }
        if (!paid) revert TransferFailed();
    }
}

/// Makes wallets, and knows those that it made.
contract WalletFactory {
    Registry private immutable registry;
    mapping(address wallet => bool) public isValidWallet;

    event WalletCreated(address indexed caller, address indexed owner, address wallet);

    constructor(Registry registry_) {
        registry = registry_;
    }

    function createWallet(address initialOwner) external returns (address) {
        address wallet = address(new Wallet(registry, initialOwner));
        isValidWallet[wallet] = true;
        emit WalletCreated(msg.sender, initialOwner, wallet);
        return wallet;
    }
}
