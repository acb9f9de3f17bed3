/**
 * Cost of a signature with each provider: the lower bound for all other
 * measurements.
 *
 * @since 0.1.0
 */
import { noble, type Provider } from "../src/Crypto.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import { identity } from "./fixtures.ts"
import { inTurns, median, used } from "./measure.ts"
import type { Figure, Section } from "./report.ts"

/** Sizes of a PING, and of a response with nine nodes. */
const lengths = [150, 766]

export const providers: ReadonlyArray<Provider> = [
  ...(NodeCrypto.sodium === undefined ? [] : [NodeCrypto.sodium]),
  NodeCrypto.openssl,
  noble
]

export const signatures = (rounds: number): Section => ({
  title: "Raw signatures",
  rows: providers.map((crypto) => {
    const signer = identity(crypto, "signer")
    const figures: { [column: string]: Figure } = {}
    for (const length of lengths) {
      const message = new Uint8Array(length).fill(7)
      const signature = signer.sign(message)
      const times = inTurns({
        verify: used(() => crypto.verify(signer.publicKey, message, signature)),
        sign: used(() => signer.sign(message))
      }, rounds)
      figures[`verify ${length} B`] = { value: median(times.verify), unit: "µs" }
      figures[`sign ${length} B`] = { value: median(times.sign), unit: "µs" }
    }
    return { name: crypto.name, figures }
  })
})
