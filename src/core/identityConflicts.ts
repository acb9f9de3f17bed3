/**
 * Detection of another node that runs under our identity. Peers keep one address
 * per id, so only one of the two nodes can be found.
 *
 * A peer that names our id at a foreign address may lie, and a message signed
 * with our key may be a replay of our own. Neither is proof, but each is a reason
 * to probe that address. The proof is a response to our request that is signed
 * with our key, unless the request came back to ourselves (through a router, or
 * because the address is our own). Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import { RateLimit } from "../internal/rateLimit.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as SocketAddress from "../SocketAddress.ts"

/** Time between two probes of one address, and between two reports of a conflict with it. */
const pauseMillis = 10 * 60_000

/** Most addresses remembered for each. */
const maxAddresses = 64

/** Rate limit of probes for each of the two reasons, because any peer can cause both. */
const askedLimit = { limit: 6, windowMillis: 60_000, capacity: 2 }

/**
 * @internal
 */
export class IdentityConflicts {
  private readonly asked = new RecencyMap<string, number>(maxAddresses)
  private readonly reported = new RecencyMap<string, number>(maxAddresses)
  private readonly askedRate = new RateLimit(askedLimit)

  /** Whether to probe an address for the given reason; counts as a probe if so. */
  shouldAsk(address: SocketAddress.SocketAddress, reason: "Named" | "Signed", now: number): boolean {
    const key = SocketAddress.key(address)
    if (isRecent(this.asked.get(key), now) || !this.askedRate.allow(reason, now)) return false
    this.asked.set(key, now)
    return true
  }

  /** Records a proof that another node at this address has our key; returns whether to report it. */
  isNews(address: SocketAddress.SocketAddress, now: number): boolean {
    const key = SocketAddress.key(address)
    if (isRecent(this.reported.get(key), now)) return false
    this.reported.set(key, now)
    return true
  }
}

const isRecent = (last: number | undefined, now: number): boolean =>
  last !== undefined && now >= last && now - last < pauseMillis
