/**
 * Behaviour of a network address translator (NAT), in the terms of RFC 4787.
 *
 * @module
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"

/**
 * What a decision of the NAT depends on: nothing of the remote endpoint, its IP
 * address, or its IP address and port.
 *
 * @category models
 * @since 0.1.0
 */
export type Dependence = "EndpointIndependent" | "AddressDependent" | "AddressAndPortDependent"

/**
 * The behaviour of a NAT.
 *
 * @category models
 * @since 0.1.0
 */
export interface Behaviour {
  /** When a host's port is mapped to a different external port (RFC 4787, 4.1). */
  readonly mapping: Dependence
  /** Which remote endpoints an external port admits, of those that the host has sent to (RFC 4787, 5). */
  readonly filtering: Dependence
  /** Lifetime of a mapping, and of what it admits, after the host's last datagram (RFC 4787, 4.3). */
  readonly lifetime: Duration.Input
  /** Which external port a new mapping gets: the next one, or any. */
  readonly ports: "Sequential" | "Random"
  /** Whether hosts behind it reach each other by their external addresses (RFC 4787, 6). */
  readonly hairpinning: boolean
}

/** The shortest lifetime that RFC 4787 allows (REQ-5); some routers use a shorter one. */
const lifetime = "2 minutes"

/**
 * One external port for each port of a host; it admits every remote endpoint.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fullCone: Behaviour = {
  mapping: "EndpointIndependent",
  filtering: "EndpointIndependent",
  lifetime,
  ports: "Sequential",
  hairpinning: false
}

/**
 * One external port for each port of a host; it admits the IPs that the host has
 * sent to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const restrictedCone: Behaviour = { ...fullCone, filtering: "AddressDependent" }

/**
 * One external port for each port of a host; it admits the IPs and ports that the
 * host has sent to. Most home routers behave like this.
 *
 * @category constructors
 * @since 0.1.0
 */
export const portRestrictedCone: Behaviour = { ...fullCone, filtering: "AddressAndPortDependent" }

/**
 * A different external port for each IP and port that a host sends to; it admits
 * only that endpoint.
 *
 * @category constructors
 * @since 0.1.0
 */
export const symmetric: Behaviour = { ...portRestrictedCone, mapping: "AddressAndPortDependent" }

/**
 * The same with external ports that cannot be predicted.
 *
 * @category constructors
 * @since 0.1.0
 */
export const symmetricRandom: Behaviour = { ...symmetric, ports: "Random" }
