"""What schemathesis cannot know of this service.

1. Which refusals of well-formed requests are right: the list EXCUSED, each with its reason. Only the failure named there, with
   that status and that sentence, is excused; every other one of the same operation counts.
2. Which requests must not be made: one that would lead out of this machine, and one that would end, for good, what all others
   ask for.

What was answered is counted per operation and written to the file that ANSWERS_FILE names, so that the caller can tell whether
anything but refusals was seen.
"""

import atexit
import json
import os
from collections import Counter, defaultdict

import schemathesis

NOT_ACCEPTED = "positive_data_acceptance"
NOT_REFUSED = "negative_data_rejection"
GONE_AFTER_DELETE = "use_after_free"
NO_SERVER_ERROR = "not_a_server_error"

EXCUSED = [
    # A cursor is opaque: no form tells one that was given out from one that was not, and only the former is taken (H40).
    (NOT_ACCEPTED, "", 422, "cursor is not a cursor of this list"),
    # The `date-time` of JSON Schema has small letters, offsets of -00:00 and years before 0; times of the AT Protocol do not (H06).
    (NOT_ACCEPTED, "GET /api/messages", 422, "before must be an RFC 3339 time"),
    # OpenAPI has no word for an upgrade; the sockets have tests of their own (R23, R24).
    (NOT_ACCEPTED, "GET /api/", 400, "this path takes a WebSocket upgrade"),
    (NOT_ACCEPTED, "GET /xrpc/", 400, "this path takes a WebSocket upgrade"),
    # Two fields that fit one by one and not together (R08).
    (NOT_ACCEPTED, "POST /api/community/ban", 422, "member_did is the owner"),
    (NOT_ACCEPTED, "POST /api/community/kick", 422, "member_did is the owner"),
    (NOT_ACCEPTED, "POST /api/report", 422, "either uri or did is required, and not both"),
    (NOT_ACCEPTED, "POST /api/report", 422, "community_uri is required with did"),
    # No form tells a voice channel of a community, and who may be there (R57).
    (NOT_ACCEPTED, "POST /api/voice/moderate", 422, "must be a voice channel"),
    (NOT_ACCEPTED, "POST /api/voice/moderate", 422, "to is required"),
    (NOT_ACCEPTED, "POST /api/voice/moderate", 422, "this person may not be in the channel"),
    # No form tells a host that this service may contact, nor a point of a curve (R82, R67).
    (NOT_ACCEPTED, "PUT /api/webhooks", 422, "url"),
    (NOT_ACCEPTED, "POST /api/push", 422, "subscription"),
    # No form tells words from signs (R55).
    (NOT_ACCEPTED, "GET /api/search", 422, "q must have 1 to 16 words"),
    # Somebody asked for the owner's repository to be read, which cannot be reached here (K01, N158).
    (NO_SERVER_ERROR, "GET /xrpc/social.colibri.community.getData", 503, "the service is overloaded or recovering"),
    # No form tells how many there are already (R52, R82).
    (NOT_ACCEPTED, "PUT /api/community/listing", 422, "its owner lists 20 communities already"),
    # No form tells a time that lies ahead (R08).
    (NOT_ACCEPTED, "POST /api/community/ban", 422, "until must be an RFC 3339 time that lies ahead"),
    # OpenAPI has no word for one of two parameters (R43).
    (NOT_ACCEPTED, "GET /api/export", 422, "community or did is required, and not both of them"),
    # No form tells the key of a message of the channel (N160i).
    (NOT_ACCEPTED, "GET /xrpc/social.colibri.channel.listMessages", 400, "cursor is the key of no message in this channel"),
    # A key belongs to the request that it was sent with first (X23).
    (NOT_ACCEPTED, "", 422, "the header Idempotency-Key was sent with another request before"),
    # The invite was revoked by an earlier request: what else than 410 could be answered (R19).
    (NOT_ACCEPTED, "POST /api/invite/{code}/use", 410, "this invite is revoked or used up"),
    # A revoked invite is still shown, as one that is not active, and may be revoked again (R16, R18).
    (GONE_AFTER_DELETE, "GET /api/invite/{code}", 200, '"active":false'),
    (GONE_AFTER_DELETE, "GET /api/invite/{code}", 304, ""),
    (GONE_AFTER_DELETE, "DELETE /api/invite/{code}", 204, ""),
]

# Accepted though a parameter is malformed: with `all`, these three are ignored (R01).
IGNORED_WITH_ALL = ("limit", "before", "cursor")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    text = response.content.decode("utf-8", "replace")
    # An optional `did` that is empty is none (4.1).
    optional_did = case.operation.label == "GET /api/webrtc/ice-servers" and (case.query or {}).get("did") == ""
    if NOT_REFUSED in failure.checks and optional_did and "parameter `did` in query" in failure.message:
        return False
    if NOT_REFUSED in failure.checks and case.operation.label == "GET /api/messages" and "all" in (case.query or {}):
        return not any(f"parameter `{name}` in query" in failure.message for name in IGNORED_WITH_ALL)
    return not any(
        check in failure.checks and case.operation.label.startswith(label) and response.status_code == status and said in text
        for check, label, status, said in EXCUSED
    )


@schemathesis.hook
def filter_case(context, case):
    # A did:web names the host that is asked about it, and so does a handle.
    named = {
        "GET /api/identity": "id",
        "GET /xrpc/com.atproto.identity.resolveHandle": "handle",
        "GET /xrpc/social.colibri.actor.getData": "identifier",
    }.get(case.operation.label)
    name = str((case.query or {}).get(named, "")) if named else ""
    is_handle = "." in name and not name.startswith("did:")
    return "did:web" not in f"{case.query} {case.body}" and not is_handle


@schemathesis.hook
def before_call(context, case, kwargs):
    # The community of the examples is not open, and only open ones have feeds (R80).
    if case.operation.label.startswith("GET /feed/") and (case.path_parameters or {}).get("community_rkey") == "3kcom":
        case.path_parameters.update(community_rkey="3kopen", channel_rkey="3knews")
    # Events are posted to this machine only.
    if case.operation.label == "PUT /api/webhooks" and isinstance(case.body, dict):
        if str(case.body.get("url", "")).startswith("https://"):
            case.body["url"] = f"{os.environ['HOST_URL']}/hook"
    # Other requests read the message of the examples: another one is blocked, and unblocked.
    of_block = case.operation.label in ("POST /api/message/block", "DELETE /api/message/block")
    if of_block and (case.query or {}).get("rkey") == "3kmsg2":
        case.query["rkey"] = "3kmany7"


answers = defaultdict(Counter)


@schemathesis.hook
def after_call(context, case, response):
    answers[case.operation.label][response.status_code] += 1


@atexit.register
def write_answers():
    path = os.environ.get("ANSWERS_FILE")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(answers, file, indent=1, sort_keys=True)
