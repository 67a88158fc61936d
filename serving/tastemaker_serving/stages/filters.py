"""Filters take proposals away. Each returns what it kept and what it removed, so that removals can be counted."""

from __future__ import annotations

from dataclasses import dataclass

from tastemaker.candidates import Codes, Proposals, among


@dataclass(frozen=True)
class Filtered:
    """Every proposal is in exactly one of the two, in its former order."""

    kept: Proposals
    removed: Proposals


def drop(proposals: Proposals, unwanted: Codes) -> Filtered:
    """Take away each user's `unwanted` items (B, S), -1 is padding: those seen, or those the caller excluded."""
    if unwanted.shape[1] == 0:
        return Filtered(proposals, proposals.head(0))
    hit = among(proposals.codes, unwanted)
    return Filtered(proposals.select((proposals.codes >= 0) & ~hit), proposals.select(hit))
