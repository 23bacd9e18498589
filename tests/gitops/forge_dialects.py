"""GitHub, GitLab and Gitea as a contract server speaks them."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.gitops.forge_server import OWNER, REPO, TOKEN, Asked, Dialect, Line, Refused, Reply, json_of, page

SLUG = f"{OWNER}/{REPO}"


class GitHubDialect(Dialect):
    kind = "github"
    api = "/api/v3"
    signs = True
    states = ("pending", "success", "failure", "error")

    def routes(self) -> list[tuple[str, str, Any]]:
        repo = f"/repos/{SLUG}"
        return [
            ("GET", repo + "/commits/{sha}/statuses", self.statuses),
            ("POST", repo + "/statuses/{sha}", self.post),
            ("GET", repo + "/pulls", self.list),
            ("POST", repo + "/pulls", self.open),
            ("PATCH", repo + "/pulls/{number}", self.change),
            ("POST", repo + "/issues/{number}/comments", self.comment),
        ]

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_post("/api/graphql", self.graphql)
        return app

    def no(self, refused: Refused) -> Reply:
        body = {"message": refused.text, "documentation_url": "https://docs.github.com/rest", "status": str(refused.status)}
        return web.json_response(body, status=refused.status, headers=refused.headers)

    async def statuses(self, request: web.Request) -> Reply:
        assert request.headers["X-GitHub-Api-Version"]
        return page(request, [self.line(one) for one in self.model.of(request.match_info["sha"])])

    def line(self, one: Line) -> dict[str, Any]:
        return {"id": one.number, "context": one.context, "state": one.state, "description": one.description, "target_url": one.url or None}

    async def post(self, request: web.Request) -> Reply:
        body, sha = await json_of(request), request.match_info["sha"]
        if sha in self.model.unknown:
            raise Refused(422, f"No commit found for SHA: {sha}")
        if len(body["description"]) > 140:
            raise Refused(422, "description is too long (maximum is 140 characters)")
        line = self.model.post(sha, body["context"], body["state"], body["description"], body.get("target_url", ""), states=self.states)
        return web.json_response(self.line(line), status=201)

    async def list(self, request: web.Request) -> Reply:
        owner, _, head = request.query["head"].partition(":")
        assert owner == OWNER
        assert request.query["state"] == "all"
        return page(request, [self.pull(one) for one in reversed(self.model.pulls) if one.head == head])

    def pull(self, one: Asked) -> dict[str, Any]:
        return {
            "number": one.number,
            "html_url": f"https://ghe.example/{SLUG}/pull/{one.number}",
            "state": "open" if one.state == "open" else "closed",
            "merged_at": "2026-01-01T00:00:00Z" if one.state == "merged" else None,
            "title": one.title,
            "body": one.body or None,
            "head": {"ref": one.head, "repo": {"full_name": "eve/fleet" if one.fork else SLUG}},
            "base": {"ref": one.base, "repo": {"full_name": SLUG}},
        }

    async def open(self, request: web.Request) -> Reply:
        body = await json_of(request)
        try:
            return web.json_response(self.pull(self.model.open(body["head"], body["base"], body["title"], body["body"])), status=201)
        except Refused as refused:
            text = f"A pull request already exists for {OWNER}:{body['head']}." if refused.status == 409 else refused.text
            errors = [{"resource": "PullRequest", "code": "custom", "message": text}]
            return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        one.title, one.body, one.state = body.get("title", one.title), body.get("body", one.body), body.get("state", one.state)
        return web.json_response(self.pull(one))

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["body"])
        return web.json_response({"id": 1}, status=201)

    async def graphql(self, request: web.Request) -> Reply:
        asked = (await json_of(request))["variables"]["input"]
        branch = asked["branch"]["branchName"]
        assert asked["branch"]["repositoryNameWithOwner"] == SLUG
        problem = None
        if asked["expectedHeadOid"] != self.model.tip(branch):
            problem = ("STALE_DATA", f'Expected branch to point to "{asked["expectedHeadOid"]}" but it did not. Pull and try again.')
        elif branch in self.model.protected:
            problem = ("UNPROCESSABLE", "Changes must be made through a pull request.")
        if problem:
            error = {"type": problem[0], "path": ["createCommitOnBranch"], "message": problem[1]}
            return web.json_response({"data": {"createCommitOnBranch": None}, "errors": [error]})
        changes = asked["fileChanges"]
        files = {one["path"]: one["contents"] for one in changes["additions"]} | {one["path"]: None for one in changes["deletions"]}
        oid = self.model.commit(branch, f"{asked['message']['headline']}\n\n{asked['message']['body']}\n", files)
        return web.json_response({"data": {"createCommitOnBranch": {"commit": {"oid": oid}}}})


class GitLabDialect(Dialect):
    kind = "gitlab"
    api = "/api/v4"
    signs = True
    states = ("pending", "running", "success", "failed", "canceled")

    def routes(self) -> list[tuple[str, str, Any]]:
        project = "/projects/{project}"
        return [
            ("GET", project + "/repository/commits/{sha}/statuses", self.statuses),
            ("POST", project + "/statuses/{sha}", self.post),
            ("GET", project + "/merge_requests", self.list),
            ("POST", project + "/merge_requests", self.open),
            ("PUT", project + "/merge_requests/{number}", self.change),
            ("POST", project + "/merge_requests/{number}/notes", self.comment),
            ("POST", project + "/repository/commits", self.commit),
            ("GET", project + "/repository/files/{path}", self.file),
        ]

    def known(self, request: web.Request) -> None:
        if unquote(request.match_info["project"]) != SLUG:
            raise Refused(404, "404 Project Not Found")

    async def statuses(self, request: web.Request) -> Reply:
        self.known(request)
        lines = [line for line in self.model.of(request.match_info["sha"]) if line.context == request.query["name"]]
        return page(request, [self.line(line) for line in lines])

    def line(self, one: Line) -> dict[str, Any]:
        return {"id": one.number, "name": one.context, "status": one.state, "description": one.description, "target_url": one.url or None}

    async def post(self, request: web.Request) -> Reply:
        self.known(request)
        body, sha = await json_of(request), request.match_info["sha"]
        latest = next((line for line in self.model.of(sha) if line.context == body["name"]), None)
        if latest and latest.state == body["state"]:
            raise Refused(400, f"Cannot transition status via :{body['state']} from :{latest.state} (Reason(s): Status cannot transition)")
        line = self.model.post(sha, body["name"], body["state"], body["description"], body.get("target_url", ""), states=self.states)
        return web.json_response(self.line(line), status=201)

    async def list(self, request: web.Request) -> Reply:
        self.known(request)
        head = request.query["source_branch"]
        return page(request, [self.pull(one) for one in reversed(self.model.pulls) if one.head == head])

    def pull(self, one: Asked) -> dict[str, Any]:
        return {
            "id": 1000 + one.number,
            "iid": one.number,
            "web_url": f"https://gitlab.example/{SLUG}/-/merge_requests/{one.number}",
            "state": {"open": "opened"}.get(one.state, one.state),
            "title": one.title,
            "description": one.body,
            "source_branch": one.head,
            "target_branch": one.base,
            "source_project_id": 2 if one.fork else 1,
            "target_project_id": 1,
        }

    async def open(self, request: web.Request) -> Reply:
        self.known(request)
        body = await json_of(request)
        try:
            one = self.model.open(body["source_branch"], body["target_branch"], body["title"], body["description"])
        except Refused as refused:
            text = "Another open merge request already exists for this source branch: !1" if refused.status == 409 else refused.text
            return web.json_response({"message": [text]}, status=refused.status)
        return web.json_response(self.pull(one), status=201)

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        one.title, one.body = body.get("title", one.title), body.get("description", one.body)
        one.state = "closed" if body.get("state_event") == "close" else one.state
        return web.json_response(self.pull(one))

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["body"])
        return web.json_response({"id": 1}, status=201)

    async def file(self, request: web.Request) -> Reply:
        path = unquote(request.match_info["path"])
        return web.json_response({"file_path": path, "last_commit_id": self.model.touched(request.query["ref"], path)})

    async def commit(self, request: web.Request) -> Reply:
        self.known(request)
        body = await json_of(request)
        branch, files = body["branch"], {}
        for action in body["actions"]:
            assert action["action"] == "delete" or action["encoding"] == "base64"
            there = self.model.touched(branch, action["file_path"])
            if action["action"] == "create" and there:
                raise Refused(400, "A file with this name already exists")
            if action["action"] != "create" and action["last_commit_id"] != there:
                raise Refused(400, "The file has changed since you started editing it: " + action["file_path"])
            files[action["file_path"]] = action.get("content")
        if branch in self.model.protected:
            raise Refused(403, "You are not allowed to push into this branch")
        return web.json_response({"id": self.model.commit(branch, body["commit_message"], files)}, status=201)


class GiteaDialect(Dialect):
    kind = "gitea"
    api = "/api/v1"
    authorization = f"token {TOKEN}"
    signs = True
    states = ("pending", "success", "error", "failure", "warning")

    def routes(self) -> list[tuple[str, str, Any]]:
        repo = f"/repos/{SLUG}"
        return [
            ("GET", repo + "/commits/{sha}/statuses", self.statuses),
            ("POST", repo + "/statuses/{sha}", self.post),
            ("GET", repo + "/pulls", self.list),
            ("POST", repo + "/pulls", self.open),
            ("PATCH", repo + "/pulls/{number}", self.change),
            ("POST", repo + "/issues/{number}/comments", self.comment),
            ("POST", repo + "/contents", self.contents),
        ]

    async def statuses(self, request: web.Request) -> Reply:
        lines = self.model.of(request.match_info["sha"])[::-1]  # in no order that a client could rely on
        return page(request, [self.line(one) for one in lines], size="limit")

    def line(self, one: Line) -> dict[str, Any]:
        return {"id": one.number, "context": one.context, "status": one.state, "description": one.description, "target_url": one.url}

    async def post(self, request: web.Request) -> Reply:
        body = await json_of(request)
        sha = request.match_info["sha"]
        line = self.model.post(sha, body["context"], body["state"], body["description"], body.get("target_url", ""), states=self.states)
        return web.json_response(self.line(line), status=201)

    async def list(self, request: web.Request) -> Reply:
        assert request.query["state"] == "all"
        return page(request, [self.pull(one) for one in reversed(self.model.pulls)], size="limit")

    def pull(self, one: Asked) -> dict[str, Any]:
        gone = one.state == "merged"  # the branch is deleted with the merge
        head = {"ref": f"refs/pull/{one.number}/head" if gone else one.head, "label": one.head, "repo_id": 9 if one.fork else 7}
        return {
            "number": one.number,
            "html_url": f"https://gitea.example/{SLUG}/pulls/{one.number}",
            "state": "open" if one.state == "open" else "closed",
            "merged": one.state == "merged",
            "title": one.title,
            "body": one.body,
            "head": head,
            "base": {"ref": one.base, "label": one.base, "repo_id": 7},
        }

    async def open(self, request: web.Request) -> Reply:
        body = await json_of(request)
        try:
            return web.json_response(self.pull(self.model.open(body["head"], body["base"], body["title"], body["body"])), status=201)
        except Refused as refused:
            text = "pull request already exists for these targets [id: 1]" if refused.status == 409 else refused.text
            raise Refused(refused.status, text) from None

    async def change(self, request: web.Request) -> Reply:
        one, body = self.model.pull(request.match_info["number"]), await json_of(request)
        one.title, one.body, one.state = body.get("title", one.title), body.get("body", one.body), body.get("state", one.state)
        return web.json_response(self.pull(one), status=201)

    async def comment(self, request: web.Request) -> Reply:
        self.model.pull(request.match_info["number"]).comments.append((await json_of(request))["body"])
        return web.json_response({"id": 1}, status=201)

    async def contents(self, request: web.Request) -> Reply:
        body = await json_of(request)
        branch, files = body["branch"], {}
        for one in body["files"]:
            there = self.model.touched(branch, one["path"]) and self.model.blob(branch, one["path"])
            if one["operation"] == "create" and there:
                raise Refused(422, f"repository file already exists [path: {one['path']}]")
            if one["operation"] != "create" and one["sha"] != there:
                raise Refused(422, f"sha does not match [given: {one['sha']}, expected: {there}]")
            files[one["path"]] = one.get("content")
        if branch in self.model.protected:
            raise Refused(403, "user cannot commit to repo [user: bot]")
        oid = self.model.commit(branch, body["message"], files)
        return web.json_response({"commit": {"sha": oid}, "verification": {"verified": True}}, status=201)
