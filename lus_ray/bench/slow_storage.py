"""A folder as a bucket of an S3 server on loopback that waits before every answer.

    python -m lus_ray.bench.slow_storage FOLDER SECONDS PORT

It lists and reads, which is what a store needs. Clients need `KEYS` in their environment.
"""

import asyncio
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

KEYS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class RangeResponse(FileResponse):
    chunk_size = 2**30  # all of a range at once


def build_app(folder: Path, delay_s: float) -> Starlette:
    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready\n")

    async def list_or_read(request: Request) -> Response:
        await asyncio.sleep(delay_s)
        path = folder / request.path_params["key"]
        if path == folder:
            return Response(_list(folder, request.query_params.get("prefix", "")))
        return RangeResponse(path) if path.is_file() else Response(status_code=404)

    return Starlette(routes=[Route("/readyz", ready), Route("/clips/{key:path}", list_or_read)])


def _list(folder: Path, prefix: str) -> str:
    """An answer to ListObjectsV2 with the files directly below a prefix."""
    below = folder / prefix
    files = [path for path in sorted(below.iterdir()) if path.is_file()] if below.is_dir() else []
    contents = "".join(
        f"<Contents><Key>{escape(str(path.relative_to(folder)))}</Key>"
        f"<Size>{path.stat().st_size}</Size></Contents>"
        for path in files
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"


if __name__ == "__main__":
    root, seconds, port = sys.argv[1:]
    app = build_app(Path(root), float(seconds))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
