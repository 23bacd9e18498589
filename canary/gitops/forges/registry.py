"""From a sink and its Secret to the forge that it means."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from canary.core.errors import Rejected
from canary.gitops.forges import address
from canary.gitops.forges.azure import Azure
from canary.gitops.forges.base import Forge
from canary.gitops.forges.bitbucket import Bitbucket
from canary.gitops.forges.bitbucket_server import BitbucketServer
from canary.gitops.forges.careful import Careful
from canary.gitops.forges.client import PATIENCE, Access, Client, Throttles
from canary.gitops.forges.gitea import Gitea
from canary.gitops.forges.github import HEADERS, GitHub
from canary.gitops.forges.gitlab import GitLab

KINDS = (address.GITHUB, address.GITLAB, address.GITEA, address.BITBUCKET, address.BITBUCKET_SERVER, address.AZURE)
_WANTED = "give it `token`, `bearerToken`, or `username` and `password`"


def forge_for(
    url: str,
    *,
    kind: str = "auto",
    api: str = "",
    secret: Mapping[str, bytes],
    throttles: Throttles | None = None,
    patience: float = PATIENCE,
) -> Forge:
    """The repository at `url` on its forge. `kind`: auto, or one of KINDS; `api`: where its API is, when not where it usually is.

    `secret`: decoded data of the Secret. Raises Rejected.
    """
    place = address.place_of(url)
    if kind == "auto":
        kind = address.detect(url) or ""
    if kind not in KINDS:
        raise Rejected(f"the forge at {place.host} is not known by its name", hint=f"set spec.provider.type to one of {', '.join(KINDS)}")
    access = Access(api or address.api_of(kind, place), *_credentials(kind, secret))
    client = Client(access, throttles or Throttles(), patience=patience)
    return Careful(_made(kind, client, place))


def _made(kind: str, client: Client, place: address.Place) -> Forge:
    match kind:
        case address.GITHUB:
            return GitHub(client, *address.owner_and_name(place))
        case address.GITLAB:
            return GitLab(client, place.path)
        case address.GITEA:
            return Gitea(client, *address.owner_and_name(place))
        case address.BITBUCKET:
            return Bitbucket(client, *address.owner_and_name(place))
        case address.BITBUCKET_SERVER:
            return BitbucketServer(client, *address.project_and_slug(place))
        case _:
            return Azure(client, *address.azure_project_and_repository(place))


def _credentials(kind: str, secret: Mapping[str, bytes]) -> tuple[dict[str, str], tuple[str, ...], str]:
    """Headers, what must not be shown, and the authority to trust. Raises Rejected."""
    text = {key: value.decode(errors="replace").strip() for key, value in secret.items()}
    if any(key.startswith("githubApp") for key in text):
        raise Rejected("GitHub App keys (`githubApp...`) are not supported by the forge's API", hint=_WANTED)
    token = text.get("token") or text.get("bearerToken") or text.get("password", "")
    if not token:
        raise Rejected("the forge's Secret holds no token", hint=_WANTED)
    if any(ord(char) < 32 or ord(char) > 126 for char in token + text.get("username", "")):
        raise Rejected("the token of the forge's Secret holds a line break or another character that no token has")
    pair = base64.b64encode(f"{text.get('username', '')}:{token}".encode()).decode()
    own = "token" not in text and "bearerToken" not in text  # username and password, as git uses them
    match kind:
        case address.GITHUB:
            headers = HEADERS | {"Authorization": f"Bearer {token}"}
        case address.GITEA:
            headers = {"Authorization": f"token {token}"}
        case address.AZURE:
            pair = base64.b64encode(f":{token}".encode()).decode()
            headers = {"Authorization": f"Basic {pair}"}
        case address.BITBUCKET | address.BITBUCKET_SERVER if own and text.get("username", "x-token-auth") != "x-token-auth":
            headers = {"Authorization": f"Basic {pair}"}
        case _:
            headers = {"Authorization": f"Bearer {token}"}
    return dict(headers), (token, pair), text.get("ca.crt", "")
