/**
 * Over which address families other nodes reach this one. Times are Unix
 * milliseconds.
 *
 * A node that can send over a family is not necessarily reached over it: its
 * socket may have no route, and a router may let in responses only. So a family
 * counts once a stranger's datagram came over it, as long as anything comes.
 *
 * @since 0.1.0
 */
import type { Family } from "../SocketAddress.ts"

const minuteMillis = 60_000

/** Time within which a stranger must have reached us. Others mostly answer, so strangers are rare. */
const reachedMillis = 24 * 60 * minuteMillis

/** Time within which something must have arrived. Each contact is heard from twice as often. */
const heardMillis = 60 * minuteMillis

const never = -Infinity

interface Times {
  heardAt: number
  reachedAt: number
}

/**
 * @internal
 */
export class Families {
  private readonly times: Readonly<Record<Family, Times>> = {
    ipv4: { heardAt: never, reachedAt: never },
    ipv6: { heardAt: never, reachedAt: never }
  }

  /** Records a verified datagram; `isUninvited` if no router let it in because of what we sent before. */
  heard(family: Family, isUninvited: boolean, now: number): void {
    const times = this.times[family]
    times.heardAt = now
    if (isUninvited) times.reachedAt = now
  }

  /** Whether other nodes reach us over both families. */
  isDual(now: number): boolean {
    return this.isReached("ipv4", now) && this.isReached("ipv6", now)
  }

  private isReached(family: Family, now: number): boolean {
    const { heardAt, reachedAt } = this.times[family]
    return now - heardAt < heardMillis && now - reachedAt < reachedMillis
  }
}
