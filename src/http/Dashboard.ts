/**
 * The dashboard at `/`: static files without data of the node, which the page
 * loads from the routes of `Routes`.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Router from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import { sha256Hex } from "../internal/sha256.ts"

const contentTypes: { readonly [extension: string]: string } = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml"
}

const index = "index.html"

/** Serves a file with an ETag: browsers revalidate it each time, and usually receive 304. */
const serveFile = (bytes: Uint8Array, contentType: string) => {
  const headers = { "cache-control": "no-cache", etag: `"${sha256Hex(bytes).slice(0, 32)}"` }
  const whole = HttpServerResponse.uint8Array(bytes, { contentType, headers })
  const unchanged = HttpServerResponse.empty({ status: 304, headers })
  return Effect.map(HttpServerRequest, (request) => {
    const known = request.headers["if-none-match"]?.split(",").map((tag) => tag.trim().replace(/^W\//, ""))
    return known?.includes(headers.etag) ? unchanged : whole
  })
}

/**
 * Routes for the page and its files, which are read once. A program bundled
 * without the files logs a warning and has no page.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never, never, Router.HttpRouter | FileSystem.FileSystem | Path.Path> = Router.use(
  Effect.fnUntraced(function*(router) {
    const files = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const directory = yield* path.fromFileUrl(new URL("./dashboard/", import.meta.url))
    for (const name of yield* files.readDirectory(directory)) {
      const contentType = contentTypes[path.extname(name)]
      if (contentType === undefined) continue
      const bytes = yield* files.readFile(path.join(directory, name))
      yield* router.add("GET", name === index ? "/" : `/assets/${name}`, serveFile(bytes, contentType))
    }
  }, Effect.catch((error) => Effect.logWarning("Reading the files of the page at / failed", error)))
)
