"""The files of the web page, each by its name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from ..page.page import page_sources

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Nothing is loaded from elsewhere, and nothing told to it."""


@cache
def page_files() -> dict[str, Path]:
    """By address: / is the page. Asked at every request."""
    files = {f"/{path.name}": path for path in page_sources()}
    return files | {"/": files["/index.html"]}


def is_page_file(path: str) -> bool:
    """Whether an address is one of the page's."""
    return path in page_files()


def page_router() -> APIRouter:
    """The page under / and its files beside it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get("/{name}")
    async def page(name: str = "") -> FileResponse:
        """One file of the page."""
        found = page_files().get(f"/{name}")
        if found is None:
            raise HTTPException(404, "Not Found")
        return FileResponse(found, headers=HEADERS)

    return router
