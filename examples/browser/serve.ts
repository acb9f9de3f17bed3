/**
 * An agent in a browser tab: its key stays there, and a node is its gateway.
 *
 * In two terminals:
 *
 *     effect-dht node --data ./ann --http-records http://127.0.0.1:8080
 *     npm run example examples/browser/serve.ts
 *
 * Then open http://127.0.0.1:8080 in two tabs, each an agent of its own. The
 * node takes the records that they sign, without its token.
 */
import { readFile } from "node:fs/promises"
import { createServer } from "node:http"
import { join } from "node:path"
import { bundle } from "./bundle.ts"

const files = new Map([
  ["/", { type: "text/html", body: await readFile(join(import.meta.dirname, "index.html")) }],
  ["/style.css", { type: "text/css", body: await readFile(join(import.meta.dirname, "style.css")) }],
  ["/page.js", { type: "text/javascript", body: await bundle(join(import.meta.dirname, "page.ts")) }]
])

const server = createServer(({ url = "" }, response) => {
  const file = files.get(url)
  response.writeHead(file === undefined ? 404 : 200, { "content-type": `${file?.type ?? "text/plain"}; charset=utf-8` })
  response.end(file?.body)
})

const [port = "8080"] = process.argv.slice(2)
server.listen(Number(port), "127.0.0.1", () => {
  const address = server.address()
  if (typeof address === "object") console.log(`Open http://127.0.0.1:${address?.port}`)
})
