/**
 * The table of a router that translates addresses (RFC 4787). Time is passed
 * in, in milliseconds.
 *
 * @since 0.1.0
 */
import type { SocketAddress } from "../../SocketAddress.ts"
import type { Dependence } from "../Nat.ts"

/** An external port, and what it stands for. */
interface Mapping<I> {
  readonly external: SocketAddress
  readonly internal: I
  readonly key: string
  /** When the inside last sent through it. */
  usedAt: number
  /** Whom the inside sent to, and when. */
  readonly permits: Map<string, number>
}

const firstPort = 1024
const ports = 0x10000 - firstPort

/** Below this size a table is not searched for what has expired. */
const sweepFrom = 1024

const about = (dependence: Dependence, remote: SocketAddress): string => {
  switch (dependence) {
    case "EndpointIndependent":
      return ""
    case "AddressDependent":
      return remote.host
    case "AddressAndPortDependent":
      return `${remote.host}:${remote.port}`
  }
}

/**
 * `I` is whatever stands for a port of a host inside; `key` tells two apart.
 *
 * @internal
 */
export class Translator<I extends { readonly key: string }> {
  private readonly host: string
  private readonly mapping: Dependence
  private readonly filtering: Dependence
  private readonly lifetimeMillis: number
  private readonly byPort = new Map<number, Mapping<I>>()
  private readonly byKey = new Map<string, Mapping<I>>()
  private next = firstPort
  private sweepAt = sweepFrom
  private sweptAt = -Infinity

  constructor(options: {
    /** The external IP. */
    readonly host: string
    readonly mapping: Dependence
    readonly filtering: Dependence
    readonly lifetimeMillis: number
  }) {
    this.host = options.host
    this.mapping = options.mapping
    this.filtering = options.filtering
    this.lifetimeMillis = options.lifetimeMillis
  }

  /** Mappings in the table, expired ones that nobody has missed yet included. */
  get size(): number {
    return this.byPort.size
  }

  /** The address that `remote` sees; undefined when all ports are taken. */
  outbound(internal: I, remote: SocketAddress, now: number): SocketAddress | undefined {
    const key = `${internal.key} ${about(this.mapping, remote)}`
    const found = this.byKey.get(key)
    const mapping = found !== undefined && this.isFresh(found.usedAt, now) ? found : this.open(internal, key, now)
    if (mapping === undefined) return undefined
    mapping.usedAt = now
    if (this.filtering !== "EndpointIndependent") this.permit(mapping, remote, now)
    return mapping.external
  }

  /** Whose external port it is, whether or not a datagram may come in. */
  owner(port: number, now: number): I | undefined {
    const mapping = this.byPort.get(port)
    return mapping !== undefined && this.isFresh(mapping.usedAt, now) ? mapping.internal : undefined
  }

  /** Whether a datagram of `remote` may come in. */
  admits(port: number, remote: SocketAddress, now: number): boolean {
    const mapping = this.byPort.get(port)
    if (mapping === undefined || !this.isFresh(mapping.usedAt, now)) return false
    if (this.filtering === "EndpointIndependent") return true
    const sentAt = mapping.permits.get(about(this.filtering, remote))
    return sentAt !== undefined && this.isFresh(sentAt, now)
  }

  private isFresh(at: number, now: number): boolean {
    return now - at <= this.lifetimeMillis
  }

  private permit({ permits }: Mapping<I>, remote: SocketAddress, now: number): void {
    const key = about(this.filtering, remote)
    // The latest comes last, so that what has expired is in front.
    permits.delete(key)
    permits.set(key, now)
    for (const [oldest, sentAt] of permits) {
      if (this.isFresh(sentAt, now)) break
      permits.delete(oldest)
    }
  }

  private open(internal: I, key: string, now: number): Mapping<I> | undefined {
    if (this.byPort.size >= this.sweepAt && now - this.sweptAt >= this.lifetimeMillis / 16) {
      this.sweptAt = now
      for (const mapping of this.byPort.values()) if (!this.isFresh(mapping.usedAt, now)) this.close(mapping)
      this.sweepAt = Math.min(ports, Math.max(sweepFrom, 2 * this.byPort.size))
    }
    const old = this.byKey.get(key)
    if (old !== undefined) this.close(old)
    if (this.byPort.size >= ports) return undefined
    while (this.byPort.has(this.next)) this.turn()
    const external = { host: this.host, port: this.next }
    this.turn()
    const mapping: Mapping<I> = { external, internal, key, usedAt: now, permits: new Map() }
    this.byPort.set(external.port, mapping)
    this.byKey.set(key, mapping)
    return mapping
  }

  private turn(): void {
    this.next = this.next === 0xffff ? firstPort : this.next + 1
  }

  private close(mapping: Mapping<I>): void {
    this.byPort.delete(mapping.external.port)
    this.byKey.delete(mapping.key)
  }
}
