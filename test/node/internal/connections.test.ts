import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { createServer, type Server, type ServerResponse } from "node:http"
import * as Net from "node:net"
import { limitConnections } from "../../../src/node/internal/connections.ts"

const max = 4

/** Bytes beyond what the system buffers for a client that does not read. */
const large = Buffer.alloc(32 << 20)

/** A server with few places, and a way to connect to it. */
const withServer = async (
  use: (connect: (request?: string) => Promise<Net.Socket>, waiting: Map<string, ServerResponse>) => Promise<void>
) => {
  const waiting = new Map<string, ServerResponse>()
  const server: Server = createServer((request, response) => {
    switch (request.url) {
      case "/at-once":
        response.end("done")
        break
      case "/large":
        response.end(large)
        break
      default:
        response.write("begun")
        waiting.set(request.url ?? "", response)
    }
  })
  limitConnections(server, max)
  await once(server.listen(0, "127.0.0.1"), "listening")
  const { port } = server.address() as Net.AddressInfo
  const sockets: Array<Net.Socket> = []
  const connect = async (request?: string) => {
    const accepted = once(server, "connection")
    const socket = Net.connect(port, "127.0.0.1").on("error", () => {})
    sockets.push(socket)
    await Promise.all([once(socket, "connect"), accepted])
    if (request !== undefined) {
      socket.write(request)
      await once(socket, "readable")
    }
    return socket
  }
  try {
    await use(connect, waiting)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

const unfinished = "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"

const closed = async (socket: Net.Socket) => {
  socket.resume()
  if (!socket.destroyed) await once(socket, "close")
}

/** Whether the server still responds on the connection. */
const isServed = async (socket: Net.Socket): Promise<boolean> => {
  socket.resume()
  socket.write(get("/at-once"))
  return new Promise((resolve) => {
    socket.once("data", () => resolve(true))
    socket.once("close", () => resolve(false))
  })
}

describe("limitConnections", () => {
  it("closes the connection idle longest, whether it sent nothing, half a request, or has its response", () =>
    withServer(async (connect) => {
      const half = await connect(unfinished)
      const silent = await connect()
      const answered = await connect(get("/at-once"))
      const last = await connect()
      for (const socket of [half, silent]) {
        const next = await connect()
        await closed(socket)
        next.destroy()
        await connect()
      }
      assert.isFalse(answered.destroyed)
      assert.isTrue(await isServed(last))
    }))

  it("counts a connection as idle from the end of its response", () =>
    withServer(async (connect) => {
      const first = await connect()
      const second = await connect()
      await connect()
      await connect()
      assert.isTrue(await isServed(first))
      await connect()
      await closed(second)
      assert.isTrue(await isServed(first))
    }))

  it("closes none that is being served while one is idle", () =>
    withServer(async (connect, waiting) => {
      const busy = await Promise.all(["/a", "/b", "/c"].map((path) => connect(get(path))))
      for (let i = 0; i < 3 * max; i++) await connect()
      for (const [i, path] of ["/a", "/b", "/c"].entries()) {
        busy[i].resume()
        waiting.get(path)?.end("done")
        assert.isTrue(await isServed(busy[i]), path)
      }
    }))

  it("closes one that does not read its response before it rejects a new one", () =>
    withServer(async (connect) => {
      await Promise.all(["/a", "/b", "/c"].map((path) => connect(get(path))))
      const stalled = await connect(get("/large"))
      const next = await connect()
      assert.isTrue(await isServed(next))
      await closed(stalled)
    }))

  it("rejects a new one if all are being served", () =>
    withServer(async (connect, waiting) => {
      const paths = ["/a", "/b", "/c", "/d"]
      const busy = await Promise.all(paths.map((path) => connect(get(path))))
      await closed(await connect())
      waiting.get("/a")?.end("done")
      assert.isTrue(await isServed(busy[0]))
    }))
})
