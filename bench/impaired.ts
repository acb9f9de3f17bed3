/**
 * A transport with added latency and loss.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Transport } from "../src/Transport.ts"

export interface Impairment {
  /** One way. */
  readonly delayMillis: number
  /** 0 to 1. */
  readonly loss: number
}

/** Impairs the datagrams that the underlying transport sends. */
export const layer = ({ delayMillis, loss }: Impairment): Layer.Layer<Transport, never, Transport> =>
  Layer.effect(
    Transport,
    Effect.map(Transport, (inner) => {
      const sendUnsafe: typeof inner.sendUnsafe = (payload, to) => {
        if (Math.random() < loss) return undefined
        if (delayMillis === 0) return inner.sendUnsafe(payload, to)
        setTimeout(() => inner.sendUnsafe(payload, to), delayMillis)
        return undefined
      }
      return Transport.of({
        ...inner,
        sendUnsafe,
        send: (payload, to) => Effect.sync(() => void sendUnsafe(payload, to))
      })
    })
  )
