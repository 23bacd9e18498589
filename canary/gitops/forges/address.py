"""From the URL of a repository to its forge: which one it is, where its API is, and how it names the repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from canary.core.errors import Rejected

GITHUB, GITLAB, GITEA = "github", "gitlab", "gitea"
BITBUCKET, BITBUCKET_SERVER, AZURE = "bitbucket", "bitbucketServer", "azure"
_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(.+)")
_WORDS = (
    (AZURE, r"(^|\.)dev\.azure\.com$|\.visualstudio\.com$"),
    (GITHUB, r"(^|\.)github\.com$|\.ghe\.com$|^github\.|^ghe\."),
    (GITLAB, r"(^|[.-])gitlab([.-]|$)"),
    (BITBUCKET, r"(^|\.)bitbucket\.org$"),
    (BITBUCKET_SERVER, r"(^|[.-])(bitbucket|stash)([.-]|$)"),
    (GITEA, r"^codeberg\.org$|(^|[.-])(gitea|forgejo)([.-]|$)"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A repository: `web` is the base of its forge (scheme, host, port), `path` what follows, without `.git`."""

    web: str
    host: str
    path: str

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in self.path.split("/") if part)


def place_of(url: str) -> Place:
    """Taken apart. An ssh URL says nothing about the port of the web, so that is the usual one. Raises Rejected."""
    if "://" in url:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), unquote(parts.path)
        netloc = parts.netloc.rpartition("@")[2]
        web = f"{parts.scheme}://{netloc}" if parts.scheme in {"http", "https"} else f"https://{host}"
    elif found := _SCP.fullmatch(url):
        host, path = found[1].lower(), found[2]
        web = f"https://{host}"
    else:
        host = path = web = ""
    path = path.strip("/").removesuffix(".git")
    if not host or not path:
        raise Rejected(f"{url} is not the URL of a repository at a forge")
    return Place(web, host, path)


def detect(url: str) -> str | None:
    """The kind of forge by the name of its host; None when the name does not tell."""
    host = place_of(url).host
    return next((kind for kind, pattern in _WORDS if re.search(pattern, host)), None)


def same_repository(one: str, other: str) -> bool:
    """Whether two URLs mean one repository, whatever their schemes, users and endings."""
    try:
        first, second = place_of(one), place_of(other)
    except Rejected:
        return False
    return first.host.removeprefix("ssh.") == second.host.removeprefix("ssh.") and _plain(first) == _plain(second)


def _plain(place: Place) -> str:
    """Bitbucket Server says `scm/` in one of its URLs, Azure DevOps `_git/` in one and `v3/` in the other."""
    return "/".join(part for part in place.parts if part not in {"scm", "_git", "v3"}).lower()


def api_of(kind: str, place: Place) -> str:
    """Where the API of this forge usually is. Raises Rejected."""
    match kind:
        case "github":
            if place.host in {"github.com", "ssh.github.com"}:
                return "https://api.github.com"
            if place.host.endswith(".ghe.com"):
                return f"https://api.{place.host}"
            return f"{place.web}/api/v3"
        case "gitlab":
            return f"{place.web}/api/v4"
        case "gitea":
            return f"{place.web}/api/v1"
        case "bitbucket":
            return "https://api.bitbucket.org/2.0"
        case "bitbucketServer":
            return f"{place.web}{_context(place)}"
        case "azure":
            return _azure_collection(place)
    raise Rejected(f"{kind} is no forge", hint="name one of github, gitlab, gitea, bitbucket, bitbucketServer, azure")


def _context(place: Place) -> str:
    """Bitbucket Server may live under a path: what comes before `scm`."""
    before, scm, _ = f"/{place.path}".partition("/scm/")
    return before if scm else ""


def project_and_slug(place: Place) -> tuple[str, str]:
    """Bitbucket Server's names. Raises Rejected."""
    if len(place.parts) < 2:
        raise Rejected(f"{place.path} names no project and repository of Bitbucket", hint="the URL ends with /scm/PROJECT/repository.git")
    return place.parts[-2], place.parts[-1]


def owner_and_name(place: Place) -> tuple[str, str]:
    """The two last parts of the path: GitHub, Gitea and Bitbucket Cloud have no others. Raises Rejected."""
    if len(place.parts) < 2:
        raise Rejected(f"{place.path} names no owner and repository")
    return place.parts[-2], place.parts[-1]


def _azure_parts(place: Place) -> tuple[tuple[str, ...], str, str]:
    """What comes before the project (organisation or collection), the project, the repository. Raises Rejected."""
    parts = place.parts
    if parts[:1] == ("v3",) and len(parts) == 4:
        return (parts[1],), parts[2], parts[3]
    if "_git" in parts and parts.index("_git") == len(parts) - 2:
        before = parts[: parts.index("_git")]
        if place.host.endswith(".visualstudio.com"):
            before = tuple(part for part in before if part != "DefaultCollection")
            return (), before[-1] if before else parts[-1], parts[-1]
        if len(before) == 1:  # a repository with the name of its project is written without it
            return before, parts[-1], parts[-1]
        if before:
            return before[:-1], before[-1], parts[-1]
    raise Rejected(f"{place.path} names no repository of Azure DevOps", hint="the URL ends with organisation/project/_git/repository")


def _azure_collection(place: Place) -> str:
    before, _, _ = _azure_parts(place)
    web = "https://dev.azure.com" if place.host == "ssh.dev.azure.com" else place.web
    return "/".join([web, *before])


def azure_project_and_repository(place: Place) -> tuple[str, str]:
    """Azure's names. Raises Rejected."""
    _, project, repository = _azure_parts(place)
    return project, repository
