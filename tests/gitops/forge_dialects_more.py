"""Bitbucket Cloud, Bitbucket Server and Azure DevOps as a contract server speaks them."""

from __future__ import annotations

import base64
from types import MappingProxyType
from typing import Any

from aiohttp import web

from tests.gitops.forge_server import OWNER, PAGE, REPO, TOKEN, Asked, Dialect, Line, Refused, Reply, json_of, key

SLUG = f"{OWNER}/{REPO}"


class BitbucketDialect(Dialect):
    kind = "bitbucket"
    api = "/2.0"
    secret = MappingProxyType({"username": "bot", "password": TOKEN})
    authorization = "Basic " + base64.b64encode(f"bot:{TOKEN}".encode()).decode()
    states = ("INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED")

    def routes(self) -> list[tuple[str, str, Any]]:
        repo = f"/repositories/{SLUG}"
        return [
            ("GET", repo + "/commit/{sha}/statuses/build/{key}", self.status),
            ("POST", repo + "/commit/{sha}/statuses/build", self.post),
            ("GET", repo + "/pullrequests", self.list),
            ("POST", repo + "/pullrequests", self.open),
            ("PUT", repo + "/pullrequests/{number}", self.change),
            ("POST", repo + "/pullrequests/{number}/decline", self.decline),
            ("POST", repo + "/pullrequests/{number}/comments", self.comment),
        ]

    def no(self, refused: Refused) -> Reply:
        return web.json_response({"type": "error", "error": {"message": refused.text}}, status=refused.status, headers=refused.headers)

    async def status(self, request: web.Request) -> Reply:
        for line in self.model.of(request.match_info["sha"]):
            if key(line.context) == request.match_info["key"]:
                return web.json_response(self.line(line))
        raise Refused(404, "Build status not found")

    def line(self, one: Line) -> dict[str, Any]:
        return {"key": key(one.context), "name": one.context, "state": one.state, "description": one.description, "url": one.url}

    async def post(self, request: web.Request) -> Reply:
        body, sha = await json_of(request), request.match_info["sha"]
        if not body["url"].startswith("http") or len(body["key"]) > 40 or body["key"] != key(body["name"]):
            raise Refused(400, "url: required, key: at most 40 characters")
        self.model.lines = [line for line in self.model.lines if (line.sha, line.context) != (sha, body["name"])]
        line = self.model.post(sha, body["name"], body["state"], body["description"], body["url"], states=self.states)
        return web.json_response(self.line(line), status=201)

    async def list(self, request: web.Request) -> Reply:
        query = request.query["q"]
        assert 'state = "MERGED"' in query
        assert 'state = "DECLINED"' in query
        head = query.partition('source.branch.name = "')[2].partition('"')[0]
        found = [self.pull(one) for one in self.model.pulls if one.head == head]
        number = int(request.query.get("page", "1"))
        body: dict[str, Any] = {"values": found[(number - 1) * PAGE : number * PAGE], "page": number, "pagelen": PAGE}
        if number * PAGE < len(found):
            body["next"] = str(request.url.update_query(page=str(number + 1)))
        return web.json_response(body)

    def pull(self, one: Asked) -> dict[str, Any]:
        return {
            "id": one.number,
            "links": {"html": {"href": f"https://bitbucket.org/{SLUG}/pull-requests/{one.number}"}},
            "state": {"open": "OPEN", "merged": "MERGED"}.get(one.state, "DECLINED"),
            "title": one.title,
            "description": one.body,
            "source": {"branch": {"name": one.head}, "repository": {"full_name": "eve/fleet" if one.fork else SLUG}},
            "destination": {"branch": {"name": one.base}, "repository": {"full_name": SLUG}},
        }

    async def open(self, request: web.Request) -> Reply:
        body = await json_of(request)
        head, base = body["source"]["branch"]["name"], body["destination"]["branch"]["name"]
        try:
            return web.json_response(self.pull(self.model.open(head, base, body["title"], body["description"])), status=201)
        except Refused as refused:
            text = "There is an open one" if refused.status == 409 else refused.text  # how it says that is documented nowhere
            raise Refused(400, text) from None

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        one.title, one.body = body["title"], body["description"]
        return web.json_response(self.pull(one))

    async def decline(self, request: web.Request) -> Reply:
        one = self.model.pull(request.match_info["number"])
        one.state = "closed"
        return web.json_response(self.pull(one))

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["content"]["raw"])
        return web.json_response({"id": 1}, status=201)


class BitbucketServerDialect(Dialect):
    kind = "bitbucketServer"
    web_path = f"/scm/{OWNER}/{REPO}.git"
    states = ("INPROGRESS", "SUCCESSFUL", "FAILED")

    def routes(self) -> list[tuple[str, str, Any]]:
        pulls = f"/rest/api/1.0/projects/{OWNER}/repos/{REPO}/pull-requests"
        return [
            ("GET", "/rest/build-status/1.0/commits/{sha}", self.statuses),
            ("POST", "/rest/build-status/1.0/commits/{sha}", self.post),
            ("GET", pulls, self.list),
            ("POST", pulls, self.open),
            ("PUT", pulls + "/{number}", self.change),
            ("POST", pulls + "/{number}/decline", self.decline),
            ("POST", pulls + "/{number}/comments", self.comment),
        ]

    def no(self, refused: Refused) -> Reply:
        errors = [{"context": None, "message": refused.text, "exceptionName": None}]
        return web.json_response({"errors": errors}, status=refused.status, headers=refused.headers)

    @staticmethod
    def page(request: web.Request, items: list[Any]) -> Reply:
        start = int(request.query["start"])
        last = start + PAGE >= len(items)
        body = {"values": items[start : start + PAGE], "start": start, "limit": PAGE, "isLastPage": last}
        return web.json_response(body | ({} if last else {"nextPageStart": start + PAGE}))

    async def statuses(self, request: web.Request) -> Reply:
        lines = self.model.of(request.match_info["sha"])
        return self.page(
            request, [{"key": key(one.context), "state": one.state, "description": one.description, "url": one.url} for one in lines]
        )

    async def post(self, request: web.Request) -> Reply:
        body, sha = await json_of(request), request.match_info["sha"]
        assert body["key"] == key(body["name"])
        assert body["url"].startswith("http")
        self.model.lines = [line for line in self.model.lines if (line.sha, line.context) != (sha, body["name"])]
        self.model.post(sha, body["name"], body["state"], body["description"], body["url"], states=self.states)
        return web.Response(status=204)

    async def list(self, request: web.Request) -> Reply:
        assert request.query["direction"] == "OUTGOING"
        assert request.query["state"] == "ALL"
        head = request.query["at"].removeprefix("refs/heads/")
        return self.page(request, [self.pull(one) for one in self.model.pulls if one.head == head])

    def pull(self, one: Asked) -> dict[str, Any]:
        mine = {"slug": REPO, "project": {"key": OWNER}}
        return {
            "id": one.number,
            "version": one.version,
            "links": {"self": [{"href": f"https://stash.example/projects/{OWNER}/repos/{REPO}/pull-requests/{one.number}"}]},
            "state": {"open": "OPEN", "merged": "MERGED"}.get(one.state, "DECLINED"),
            "title": one.title,
            "description": one.body,
            "fromRef": {"id": f"refs/heads/{one.head}", "repository": {"slug": REPO, "project": {"key": "~EVE"}} if one.fork else mine},
            "toRef": {"id": f"refs/heads/{one.base}", "repository": mine},
            "reviewers": [{"user": {"name": "rita"}, "approved": True}],
        }

    async def open(self, request: web.Request) -> Reply:
        body = await json_of(request)
        assert body["fromRef"]["repository"] == {"slug": REPO, "project": {"key": OWNER}}
        head, base = (body[side]["id"].removeprefix("refs/heads/") for side in ("fromRef", "toRef"))
        try:
            return web.json_response(self.pull(self.model.open(head, base, body["title"], body["description"])), status=201)
        except Refused as refused:
            text = "Only one pull request may be open for a given source and target branch" if refused.status == 409 else refused.text
            raise Refused(409, text) from None

    def current(self, one: Asked, version: Any) -> None:
        if int(version) != one.version:
            raise Refused(409, "You are attempting to modify a pull request based on out-of-date information.")
        one.version += 1

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        self.current(one, body["version"])
        assert body["reviewers"] == [{"user": {"name": "rita"}}]  # else they would be removed
        one.title, one.body = body["title"], body["description"]
        return web.json_response(self.pull(one))

    async def decline(self, request: web.Request) -> Reply:
        one = self.model.pull(request.match_info["number"])
        self.current(one, request.query["version"])
        one.state = "closed"
        return web.json_response(self.pull(one))

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["text"])
        return web.json_response({"id": 1}, status=201)


class AzureDialect(Dialect):
    kind = "azure"
    web_path = f"/org/{OWNER}/_git/{REPO}"
    api = "/org"
    authorization = "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode()
    states = ("notSet", "pending", "succeeded", "failed", "error", "notApplicable")

    def routes(self) -> list[tuple[str, str, Any]]:
        repo = f"/{OWNER}/_apis/git/repositories/{REPO}"
        return [
            ("GET", repo + "/commits/{sha}/statuses", self.statuses),
            ("POST", repo + "/commits/{sha}/statuses", self.post),
            ("GET", repo + "/pullrequests", self.list),
            ("POST", repo + "/pullrequests", self.open),
            ("PATCH", repo + "/pullrequests/{number}", self.change),
            ("POST", repo + "/pullRequests/{number}/threads", self.comment),
        ]

    def no(self, refused: Refused) -> Reply:
        if refused.status == 401:  # a sign-in page, as a browser would want it
            return web.Response(status=203, text="<html><title>Azure DevOps Services | Sign In</title></html>", content_type="text/html")
        body = {"$id": "1", "innerException": None, "message": refused.text, "typeKey": "GitException", "errorCode": 0}
        return web.json_response(body, status=refused.status, headers=refused.headers)

    @staticmethod
    def page(request: web.Request, items: list[Any], top: str, skip: str) -> Reply:
        assert request.query["api-version"]
        begin, size = int(request.query[skip]), int(request.query[top])
        return web.json_response({"count": len(items), "value": items[begin : begin + size]})

    async def statuses(self, request: web.Request) -> Reply:
        return self.page(request, [self.line(one) for one in self.model.of(request.match_info["sha"])], "top", "skip")

    def line(self, one: Line) -> dict[str, Any]:
        context = {"name": one.context, "genre": "canary"}
        return {"id": one.number, "state": one.state, "description": one.description, "context": context, "targetUrl": one.url or None}

    async def post(self, request: web.Request) -> Reply:
        assert request.query["api-version"]
        body, sha = await json_of(request), request.match_info["sha"]
        assert body["context"]["genre"] == "canary"
        line = self.model.post(
            sha, body["context"]["name"], body["state"], body["description"], body.get("targetUrl", ""), states=self.states
        )
        return web.json_response(self.line(line), status=201)

    async def list(self, request: web.Request) -> Reply:
        assert request.query["searchCriteria.status"] == "all"
        head = request.query["searchCriteria.sourceRefName"].removeprefix("refs/heads/")
        return self.page(request, [self.pull(one) for one in reversed(self.model.pulls) if one.head == head], "$top", "$skip")

    def pull(self, one: Asked) -> dict[str, Any]:
        fork = {"forkSource": {"name": "refs/heads/x", "repository": {"name": "eve"}}} if one.fork else {}
        return fork | {
            "pullRequestId": one.number,
            "status": {"open": "active", "merged": "completed"}.get(one.state, "abandoned"),
            "title": one.title,
            "description": one.body,
            "sourceRefName": f"refs/heads/{one.head}",
            "targetRefName": f"refs/heads/{one.base}",
            "url": "https://azure.example/_apis/git/pullrequest",
        }

    async def open(self, request: web.Request) -> Reply:
        body = await json_of(request)
        assert len(body["description"]) <= 4000
        head, base = (body[side].removeprefix("refs/heads/") for side in ("sourceRefName", "targetRefName"))
        try:
            return web.json_response(self.pull(self.model.open(head, base, body["title"], body["description"])), status=201)
        except Refused as refused:
            text = (
                "TF401179: An active pull request for the source and target branch already exists."
                if refused.status == 409
                else refused.text
            )
            raise Refused(409, text) from None

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        one.title, one.body = body.get("title", one.title), body.get("description", one.body)
        one.state = "closed" if body.get("status") == "abandoned" else one.state
        return web.json_response(self.pull(one))

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["comments"][0]["content"])
        return web.json_response({"id": 1})
