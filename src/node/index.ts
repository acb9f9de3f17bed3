/**
 * What only Node.js has: UDP, native signatures, threads; and `DhtLive`, a
 * whole node.
 *
 * @since 0.1.0
 */
export { DhtLive } from "./DhtLive.ts"
export * as NodeCrypto from "./NodeCrypto.ts"
export * as NodeVerifier from "./NodeVerifier.ts"
export * as UdpTransport from "./UdpTransport.ts"
