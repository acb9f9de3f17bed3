/**
 * Whether another node runs under our identity, which makes one of the two
 * unfindable: others keep one address for an id.
 *
 * That a peer names our id at an address that is not ours can be a lie, and a
 * message that is signed with our key can be an old one of our own, sent again
 * from anywhere. Neither proves anything, but each is a reason to ask at that
 * address. The proof is an answer to a request of ours that is signed with our
 * key, unless the request came back to ourselves (over a router, or because the
 * address is our own). Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import * as SocketAddress from "../SocketAddress.ts"
import { RateLimit } from "./rateLimit.ts"
import { RecencyMap } from "./recencyMap.ts"

/** An address is not asked, and a conflict with it not reported, again for so long. */
const pauseMillis = 10 * 60_000

/** Addresses remembered for that. */
const maxAddresses = 64

/** Addresses asked, for each of the two reasons: anybody can give us either. */
const askedLimit = { limit: 6, windowMillis: 60_000, capacity: 2 }

/**
 * @internal
 */
export class IdentityConflicts {
  private readonly asked = new RecencyMap<string, { at: number }>(maxAddresses)
  private readonly reported = new RecencyMap<string, { at: number }>(maxAddresses)
  private readonly askedRate = new RateLimit(askedLimit)

  /** Whether to ask at an address for which there is a reason. */
  shouldAsk(address: SocketAddress.SocketAddress, reason: "Named" | "Signed", now: number): boolean {
    const key = SocketAddress.key(address)
    if (isRecent(this.asked.get(key), now) || !this.askedRate.allow(reason, now)) return false
    this.asked.use(key, () => ({ at: now })).at = now
    return true
  }

  /** Another node proved at this address that it has our key: whether that is news. */
  isNews(address: SocketAddress.SocketAddress, now: number): boolean {
    const key = SocketAddress.key(address)
    if (isRecent(this.reported.get(key), now)) return false
    this.reported.use(key, () => ({ at: now })).at = now
    return true
  }
}

const isRecent = (last: { readonly at: number } | undefined, now: number): boolean =>
  last !== undefined && now >= last.at && now - last.at < pauseMillis
