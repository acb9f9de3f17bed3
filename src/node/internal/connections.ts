/**
 * A limit on the connections of an HTTP server that silent clients cannot
 * exhaust: at the limit, a new connection replaces one without a response in
 * progress.
 *
 * @since 0.1.0
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Whether no response is in progress: between requests, or with the request still incomplete. */
const isIdle = (exchange: Exchange | undefined): boolean =>
  exchange === undefined || exchange.response.closed || !exchange.request.complete

/** Whether the client has not read what was written to it. */
const isStalled = (socket: Socket): boolean => socket.writableLength > 0

/**
 * Keeps at most `max` connections open. Beyond the limit it closes the
 * connection that has been idle longest; if none is idle, the one whose client
 * has not read its response for longest; if all are being served, the new one.
 *
 * @internal
 */
export const limitConnections = (server: Server, max: number): void => {
  /** The last exchange of each connection, in the order in which they became idle. */
  const exchanges = new Map<Socket, Exchange | undefined>()

  const leastMissed = (): Socket | undefined => {
    let stalled: Socket | undefined
    for (const [socket, exchange] of exchanges) {
      if (isIdle(exchange)) return socket
      if (stalled === undefined && isStalled(socket)) stalled = socket
    }
    return stalled
  }

  const close = (socket: Socket): void => {
    exchanges.delete(socket)
    socket.destroy()
  }

  server.on("connection", (socket: Socket) => {
    if (exchanges.size >= max) {
      const victim = leastMissed()
      if (victim === undefined) {
        socket.destroy()
        return
      }
      close(victim)
    }
    exchanges.set(socket, undefined)
    socket.once("close", () => exchanges.delete(socket))
  })

  const begin = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request
    const exchange = { request, response }
    if (!exchanges.has(socket)) return
    exchanges.set(socket, exchange)
    response.once("close", () => {
      // A pipelined request may have replaced it.
      if (exchanges.get(socket) !== exchange) return
      exchanges.delete(socket)
      exchanges.set(socket, undefined)
    })
  }
  server.on("request", begin)
  server.on("checkContinue", begin)
}
