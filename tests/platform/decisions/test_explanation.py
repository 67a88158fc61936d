from __future__ import annotations

import pytest
from msgspec import structs

from tastemaker.decisions.explanation import Signal, explain, fate_of, ordinal

from .examples import decision, trace


@pytest.mark.parametrize(
    ("item_id", "stage", "words"),
    [
        ("c1", "shown", "1st of 3, from als. 2nd of 6 by the ranker, with a score of 0.4."),
        ("p", "shown", "3rd of 3, from popular: no candidate of the models, but a later rung"),
        ("c5", "ranking", "6th of 6 by the ranker, with a score of 0; the best 4 go on, the last of them with 0.2."),
        (
            "c3",
            "re-ranking",
            "Others took the places: better ones, or more unlike one another. 4th of 6 by the ranker",
        ),
        ("c2", "caps", "The slate may have at most 3 of one category, and has them. 3rd of 6 by the ranker"),
        ("c4", "quality", "The stage quality (blurred) dropped it at 0.5. 5th of 6 by the ranker"),
        ("banned", "rules", "The rule 'no horror' bans it."),
        ("had", "seen", "last on 2027-01-15 07:59 UTC with a preference of +1."),
        ("old", "seen", "with a preference of -0.5."),
        ("no", "excluded", "The caller excluded it."),
        ("never", "excluded", "The caller excluded it."),
        ("late", "retrieval", "beyond the 6 candidates"),
        ("gone", "unavailable", "3rd by the models, but no longer in the catalogue"),
        ("went", "unavailable", "Proposed, but it had been removed from the catalogue, or was not available."),
        ("nobody", "sources", "No source proposed it among the 6 candidates."),
    ],
)
def test_every_item_has_the_fate_that_it_met(item_id: str, stage: str, words: str) -> None:
    fate = fate_of(decision(traced=trace()), item_id)
    assert fate.stage == stage
    assert words in fate.why


def test_what_the_caller_did_not_exclude_was_on_an_earlier_page() -> None:
    fate = fate_of(structs.replace(decision(traced=trace()), exclude=[]), "no")
    assert (fate.stage, fate.why) == ("excluded", "An earlier page showed it.")


def test_what_the_catalogue_lacks_is_said_to_be_lacking() -> None:
    words = "The catalogue does not have it now, or it is not available."
    for in_catalogue, said in ((False, True), (True, False), (None, False)):
        fate = fate_of(decision(traced=trace()), "nobody", in_catalogue=in_catalogue)
        assert (fate.stage, words in fate.why) == ("sources", said)
    assert words not in fate_of(decision(traced=trace()), "late", in_catalogue=False).why


def test_an_item_is_told_with_its_signals_and_their_ranks() -> None:
    fate = fate_of(decision(traced=trace()), "c2")
    assert fate.signals == {"two_tower": Signal(1.0, 3), "als": Signal(4.0, 2)}
    assert (fate.rank, fate.source, fate.value) == (3, "als", None)
    assert fate.score == pytest.approx(0.3)


def test_a_slate_counts_what_each_stage_dropped() -> None:
    told = explain(decision(traced=trace()), "c3")
    assert (told.candidates, told.detail) == (6, "full")
    assert told.dropped == {
        "ranking": 2,
        "seen": 1,
        "excluded": 1,
        "retrieval": 1,
        "unavailable": 1,
        "rules": 1,
        "caps": 1,
        "quality": 1,
        "re-ranking": 1,
    }
    assert [(item.item_id, item.position, item.rank, item.propensity) for item in told.items] == [
        ("c1", 0, 2, None),
        ("c0", 1, 1, 0.25),
        ("p", 2, None, None),
    ]
    assert told.item is not None
    assert told.item.stage == "re-ranking"


def test_a_slate_in_retrieval_order_says_so() -> None:
    assert "2nd of 6 in the order of retrieval" in fate_of(decision(traced=trace(), served_from="candidates"), "c1").why


def test_without_full_detail_only_what_was_shown_is_known() -> None:
    told = explain(decision(), "c3")
    assert (told.detail, told.candidates, told.dropped) == ("slate", 0, {})
    assert told.items[0].why == "1st of 3, from als, with a score of 0.4."
    assert told.item is not None
    assert told.item.stage == "unknown"


def test_a_slate_from_the_cache_names_the_request_that_computed_it() -> None:
    told = explain(decision(origin="r0", served_from="cache"), "c3")
    assert told.items[0].why == "1st of 3, from als, as request r0 had computed it."
    assert told.item is not None
    assert "see request r0" in told.item.why


def test_a_slate_from_the_cache_may_be_the_beginning_of_what_was_computed() -> None:
    whole = trace()
    told = explain(decision(traced=whole, origin="r0", served_from="cache", n=2), whole.slate[2])
    assert told.item is not None
    assert (told.item.stage, told.item.why) == (
        "re-ranking",
        "3rd by the models, of whose slate the first 2 were shown.",
    )


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd"), (113, "113th"), (1000, "1,000th")],
)
def test_ordinals(number: int, word: str) -> None:
    assert ordinal(number) == word
