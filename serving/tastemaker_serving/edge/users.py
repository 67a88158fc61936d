"""What the edge is told of a user beside their events: profile, preferences, and that they want to be forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tastemaker import erasure, preferences, profiles
from tastemaker.answers import Erased, Stored
from tastemaker.errors import InvalidInput
from tastemaker.events.schema import MAX_CLOCK_SKEW
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile
from tastemaker_serving.edge import documents, forms, parameters
from tastemaker_serving.edge.requests import admitted, json_answer, json_body, path_id

router = APIRouter()


class ProfileForm(Profile, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{user_id}`."""


class PreferencesForm(Preferences, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{user_id}/preferences`."""


PREFERENCES = documents.answer(Stored, Stored("42"), scope="write", errors=documents.BODY_ERRORS) | {
    "openapi_extra": documents.in_path("user_id")
    | documents.body(forms.schema(PreferencesForm), {"categories": ["Drama", "Thriller"], "items": ["318", "50"]})
}
PROFILE = documents.answer(Stored, Stored("42"), scope="write", errors=documents.BODY_ERRORS) | {
    "openapi_extra": documents.in_path("user_id")
    | documents.body(forms.schema(ProfileForm), {"country": "DE", "created_at": "2026-01-31T18:00:00Z"})
}
ERASURE = documents.answer(Erased, Erased("42", 5), scope="admin", errors={400: documents.BAD, 503: documents.AWAY}) | {
    "openapi_extra": documents.in_path("user_id")
}


@router.put("/v1/users/{user_id}/preferences", **PREFERENCES)
async def put_preferences(request: Request) -> Response:
    """Replace what a new user said they like; it shapes their slates at once, until events say more."""
    edge = admitted(request, "write")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    user_id = path_id(request, "user_id")
    liked = forms.parse(await json_body(request), PreferencesForm)
    with edge.patient.breaker:
        await preferences.records.write(edge.patient.redis, user_id, liked)
    return json_answer(Stored(user_id))


@router.put("/v1/users/{user_id}", **PROFILE)
async def put_profile(request: Request) -> Response:
    """Replace a user's profile. Users need none; it helps while nothing else is known of them."""
    edge = admitted(request, "write")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    user_id = path_id(request, "user_id")
    profile = forms.parse(await json_body(request), ProfileForm)
    if profile.created_at is not None and profile.created_at > datetime.now(UTC) + MAX_CLOCK_SKEW:
        raise InvalidInput(
            f"created_at {profile.created_at.isoformat()} lies in the future",
            "Correct the sender's clock or the offset",
        )
    with edge.patient.breaker:
        await profiles.put(edge.patient.redis, user_id, profile)
    return json_answer(Stored(user_id))


@router.delete("/v1/users/{user_id}", **ERASURE)
async def delete_user(request: Request) -> Response:
    """Forget a user: at once online; a tombstone tells the job that erases from the lake. Repeating it is safe."""
    edge = admitted(request, "admin")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    user_id = path_id(request, "user_id")
    with edge.patient.breaker:
        erased = await erasure.erase(edge.patient.redis, user_id)
    return json_answer(Erased(user_id, erased))
