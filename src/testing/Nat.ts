/**
 * How a router that translates addresses behaves, in the words of RFC 4787.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"

/**
 * What a decision of the router depends on: nothing of the other side, its IP
 * address, or its IP address and port.
 *
 * @category models
 * @since 0.1.0
 */
export type Dependence = "EndpointIndependent" | "AddressDependent" | "AddressAndPortDependent"

/**
 * @category models
 * @since 0.1.0
 */
export interface Behaviour {
  /** When a host's port is given another external port (RFC 4787, 4.1). */
  readonly mapping: Dependence
  /** From whom an external port lets datagrams in (RFC 4787, 5): whom the host has sent to. */
  readonly filtering: Dependence
  /** How long a mapping, and what it lets in, lasts after the host's last datagram (RFC 4787, 4.3). */
  readonly lifetime: Duration.Input
  /** Whether hosts behind it reach each other by their external addresses (RFC 4787, 6). */
  readonly hairpinning: boolean
}

/** The shortest that RFC 4787 allows (REQ-5); there are routers that forget sooner. */
const lifetime = "2 minutes"

/**
 * One external port for each port of a host, open to everybody.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fullCone: Behaviour = {
  mapping: "EndpointIndependent",
  filtering: "EndpointIndependent",
  lifetime,
  hairpinning: false
}

/**
 * One external port for each port of a host, open to the IPs it has sent to.
 *
 * @category constructors
 * @since 0.1.0
 */
export const restrictedCone: Behaviour = { ...fullCone, filtering: "AddressDependent" }

/**
 * One external port for each port of a host, open to the IPs and ports it has
 * sent to: what most home routers do.
 *
 * @category constructors
 * @since 0.1.0
 */
export const portRestrictedCone: Behaviour = { ...fullCone, filtering: "AddressAndPortDependent" }

/**
 * Another external port for each IP and port that a host sends to, open to
 * nobody else.
 *
 * @category constructors
 * @since 0.1.0
 */
export const symmetric: Behaviour = { ...portRestrictedCone, mapping: "AddressAndPortDependent" }
