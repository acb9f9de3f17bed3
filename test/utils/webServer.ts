import * as Effect from "effect/Effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** A web server on all IPv4 addresses of this machine, and the paths that were requested of it. */
export const webServer = (answer: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly port: number
      readonly url: string
      readonly requested: ReadonlyArray<string>
      readonly close: Effect.Effect<void>
    }>((resume) => {
      const requested: Array<string> = []
      const server = createServer((request, response) => {
        requested.push(request.url ?? "")
        answer(request, response)
      })
      const close = Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
      server.listen(0, "0.0.0.0", () => {
        const { port } = server.address() as AddressInfo
        resume(Effect.succeed({ port, url: `http://127.0.0.1:${port}`, requested, close }))
      })
    }),
    ({ close }) => close
  )
