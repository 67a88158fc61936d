from __future__ import annotations

import pytest
from feast.types import Float64

from tastemaker import columns
from tastemaker.features import definitions as defined
from tastemaker.lake import Lake


def test_the_service_serves_the_features_of_users_and_items() -> None:
    made = defined.definitions(Lake("memory://definitions"))

    assert made.service.name == "ranking_v1"
    views = made.service.feature_view_projections
    served = {view.name: {field.name for field in view.features} for view in views}
    assert served == {"user_features": set(defined.USER_FEATURES), "item_features": set(defined.ITEM_FEATURES)}
    assert [field.name for field in made.embeddings.features] == [columns.EMBEDDING]


def test_the_schema_hash_changes_with_any_name_or_type(monkeypatch: pytest.MonkeyPatch) -> None:
    before = defined.schema_hash()
    assert before == defined.schema_hash()

    monkeypatch.setitem(defined.USER_FEATURES, columns.ACCOUNT_AGE_DAYS, Float64)
    changed_type = defined.schema_hash()
    monkeypatch.setitem(defined.ITEM_FEATURES, "new", Float64)
    assert len({before, changed_type, defined.schema_hash()}) == 3
