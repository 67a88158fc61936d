from __future__ import annotations

import numpy as np

from tastemaker import bundle
from tastemaker.bundle import Bundle
from tastemaker.heads import HeadWeights
from tastemaker.ids import keys_of
from tastemaker_serving import models


def test_each_deployment_loads_with_its_own_parts_checked(model_bundle: Bundle) -> None:
    personal = models.load_personal(bundle.read(model_bundle.path, only=models.PERSONAL_PARTS))
    retrieval = models.load_retrieval(bundle.read(model_bundle.path, only=models.RETRIEVAL_PARTS), popular=30)
    ranking = models.load_ranker(bundle.read(model_bundle.path, only=models.RANKER_PARTS), HeadWeights())

    items = len(personal.item_ids)
    assert personal.titles[7] == "Item 7"
    assert personal.index.find(keys_of(["item-7", "no such item"])).tolist() == [7, -1]
    assert np.allclose(personal.unit_vectors.norm(dim=1), 1.0, atol=1e-5)
    assert (
        retrieval.two_tower.index.ntotal == len(retrieval.two_tower.vectors) == len(retrieval.content.vectors) == items
    )
    assert retrieval.popular.codes.shape == (len(personal.vocabulary) + 1, 30)
    assert ranking.item_half.shape[0] == items
