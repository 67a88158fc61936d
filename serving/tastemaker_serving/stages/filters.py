"""Filters take proposals away. Each returns what it kept and what it removed, so that removals can be counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tastemaker.candidates import Codes, Mask, Proposals, among


@dataclass(frozen=True)
class Filtered:
    """Every proposal is in exactly one of the two, in its former order."""

    proposals: Proposals
    hit: Mask  # (B, C) those removed

    @property
    def kept(self) -> Proposals:
        """Those that stay."""
        return self.proposals.select((self.proposals.codes >= 0) & ~self.hit) if self.hit.any() else self.proposals

    @property
    def removed(self) -> Proposals:
        """Those taken away; only traced requests ask."""
        return self.proposals.select(self.hit)


def drop(proposals: Proposals, unwanted: Codes) -> Filtered:
    """Take away each user's `unwanted` items (B, S), -1 is padding: those seen, or those the caller excluded."""
    if unwanted.shape[1] == 0:
        return Filtered(proposals, np.zeros(proposals.codes.shape, dtype=bool))
    return Filtered(proposals, among(proposals.codes, unwanted))


def drop_gone(proposals: Proposals, gone: Codes) -> Filtered:
    """Take the items `gone` (G,) away from everybody: they are in no slate any more."""
    return drop(proposals, np.broadcast_to(gone, (len(proposals.codes), len(gone))))
