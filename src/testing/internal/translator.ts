/**
 * The mapping table of a NAT (RFC 4787). Time is a parameter in milliseconds.
 *
 * @since 0.1.0
 */
import type { SocketAddress } from "../../SocketAddress.ts"
import type { Dependence } from "../Nat.ts"

/** An external port and the internal endpoint that it is mapped to. */
interface Mapping<I> {
  readonly external: SocketAddress
  readonly internal: I
  readonly key: string
  /** When the internal endpoint last sent through it. */
  usedAt: number
  /** The remote endpoints that it sent to, and when. */
  readonly permits: Map<string, number>
}

const firstPort = 1024
const ports = 0x10000 - firstPort

/** Size from which expired mappings are swept. */
const sweepFrom = 1024

/** The part of a remote endpoint that a decision depends on. */
const relevantPart = (dependence: Dependence, remote: SocketAddress): string => {
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
 * A mapping table. `I` represents a port of an internal host, identified by `key`.
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
  private readonly draw: (() => number) | undefined
  private next = firstPort
  private sweepAt = sweepFrom
  private sweptAt = -Infinity

  constructor(options: {
    /** The external IP. */
    readonly host: string
    readonly mapping: Dependence
    readonly filtering: Dependence
    readonly lifetimeMillis: number
    /** Draws a number from 0 to 1 for each new port; without it, ports are sequential. */
    readonly draw?: (() => number) | undefined
  }) {
    this.host = options.host
    this.mapping = options.mapping
    this.filtering = options.filtering
    this.lifetimeMillis = options.lifetimeMillis
    this.draw = options.draw
  }

  /** Number of mappings, expired ones that were not swept yet included. */
  get size(): number {
    return this.byPort.size
  }

  /** Maps an outgoing datagram; returns the address that `remote` sees, or undefined if no port is free. */
  outbound(internal: I, remote: SocketAddress, now: number): SocketAddress | undefined {
    const key = `${internal.key} ${relevantPart(this.mapping, remote)}`
    const found = this.byKey.get(key)
    const mapping = found !== undefined && this.isFresh(found.usedAt, now) ? found : this.open(internal, key, now)
    if (mapping === undefined) return undefined
    mapping.usedAt = now
    if (this.filtering !== "EndpointIndependent") this.permit(mapping, remote, now)
    return mapping.external
  }

  /** The internal endpoint of an external port, whether or not a datagram is admitted. */
  owner(port: number, now: number): I | undefined {
    const mapping = this.byPort.get(port)
    return mapping !== undefined && this.isFresh(mapping.usedAt, now) ? mapping.internal : undefined
  }

  /** Whether a datagram from `remote` is admitted. */
  admits(port: number, remote: SocketAddress, now: number): boolean {
    const mapping = this.byPort.get(port)
    if (mapping === undefined || !this.isFresh(mapping.usedAt, now)) return false
    if (this.filtering === "EndpointIndependent") return true
    const sentAt = mapping.permits.get(relevantPart(this.filtering, remote))
    return sentAt !== undefined && this.isFresh(sentAt, now)
  }

  private isFresh(at: number, now: number): boolean {
    return now - at <= this.lifetimeMillis
  }

  private permit({ permits }: Mapping<I>, remote: SocketAddress, now: number): void {
    const key = relevantPart(this.filtering, remote)
    // Reinserting keeps the permits in order of age, so the expired ones come first.
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
    if (this.draw !== undefined) this.next = firstPort + Math.floor(this.draw() * ports)
    while (this.byPort.has(this.next)) this.advance()
    const external = { host: this.host, port: this.next }
    this.advance()
    const mapping: Mapping<I> = { external, internal, key, usedAt: now, permits: new Map() }
    this.byPort.set(external.port, mapping)
    this.byKey.set(key, mapping)
    return mapping
  }

  private advance(): void {
    this.next = this.next === 0xffff ? firstPort : this.next + 1
  }

  private close(mapping: Mapping<I>): void {
    this.byPort.delete(mapping.external.port)
    this.byKey.delete(mapping.key)
  }
}
