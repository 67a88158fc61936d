"""Where features lie in the lake: what a build writes and Feast reads."""

from __future__ import annotations

from typing import Final

USER_VIEW: Final = "user_features"
ITEM_VIEW: Final = "item_features"
EMBEDDING_VIEW: Final = "item_embeddings"

USER_FILE: Final = f"features/{USER_VIEW}.parquet"
FRESH_USER_FILE: Final = f"features/{USER_VIEW}_fresh.parquet"
"""Users whom events touched since USER_FILE was made, whose rows there count no more (features.snapshots)."""
ITEM_FILE: Final = f"features/{ITEM_VIEW}.parquet"
EMBEDDING_FILE: Final = f"features/{EMBEDDING_VIEW}.parquet"
VOCABULARY_FILE: Final = "features/vocabulary.json"
STATE_FILE: Final = "features/state.json"
"""What earlier feature builds have done. Without it the next one goes by all events."""

MATERIALIZED_KEY: Final = "tm:materialized"
"""Key in the online store: seconds since 1970 when it was last filled."""
