/**
 * Name resolution by the operating system: its hosts file, DNS, and other
 * configured sources.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { lookup } from "node:dns/promises"
import { CannotResolve, NameResolver } from "../NameResolver.ts"

/**
 * Resolves both address families, in the system's order of preference (RFC
 * 6724), without a cache. `localhost` always resolves to the loopback address of
 * both families (RFC 6761, 6.3), even if the hosts file has only one of them.
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
    ? "the name does not exist"
    : code === "EAI_AGAIN"
    ? "the name service does not answer"
    : message
}
