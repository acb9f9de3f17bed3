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
 * kept: each lookup asks anew.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.succeed(NameResolver, {
  lookup: (name) =>
    Effect.tryPromise({
      try: () => lookup(name, { all: true, order: "verbatim" }),
      catch: (cause) => new CannotResolve({ name, reason: reasonOf(cause) })
    }).pipe(Effect.map((found) => found.map(({ address }) => address)))
})

const reasonOf = (cause: unknown): string => {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === "ENOTFOUND"
    ? "there is no such name"
    : code === "EAI_AGAIN"
    ? "the name service does not answer"
    : message
}
