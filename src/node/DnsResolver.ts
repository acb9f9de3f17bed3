/**
 * Names as the operating system knows them: its hosts file, DNS, and whatever
 * else it asks.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { lookup } from "node:dns/promises"
import { CannotResolve, NameResolver } from "../NameResolver.ts"

/**
 * Both families, in the order that the system prefers (RFC 6724). Nothing is
 * kept: each lookup asks anew. `localhost` is the loopback address of either
 * family (RFC 6761, 6.3), also where the hosts file has one of them only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.succeed(NameResolver, {
  lookup: (name) =>
    isLocalhost(name) ? Effect.succeed(loopback) : Effect.tryPromise({
      try: () => lookup(name, { all: true, order: "verbatim" }),
      catch: (cause) => new CannotResolve({ name, reason: reasonOf(cause) })
    }).pipe(Effect.map((found) => found.map(({ address }) => address)))
})

const loopback = ["127.0.0.1", "::1"]

const isLocalhost = (name: string): boolean => /^(?:.+\.)?localhost\.?$/i.test(name)

const reasonOf = (cause: unknown): string => {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === "ENOTFOUND"
    ? "there is no such name"
    : code === "EAI_AGAIN"
    ? "the name service does not answer"
    : message
}
