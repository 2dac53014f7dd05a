"""For keystores of version 4, see the package."""

from __future__ import annotations

from typing import NoReturn


class G2ProofOfPossession:
    """The signatures of validators."""

    @staticmethod
    def SkToPk(_key: int) -> NoReturn:  # noqa: N802 - the library's name
        """The public key of a private one."""
        raise NotImplementedError("The executable reads no keystores of version 4.")
