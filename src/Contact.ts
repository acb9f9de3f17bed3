/**
 * A node as its peers know it: its identity and its UDP address.
 *
 * @module
 * @since 0.1.0
 */
import type { Address } from "./Address.ts"
import type { NodeId } from "./NodeId.ts"
import type { SocketAddress } from "./SocketAddress.ts"

/**
 * Identity and address of a node. `id` is the hash of `address`; code that
 * builds a contact ensures that.
 *
 * @category models
 * @since 0.1.0
 */
export interface Contact extends SocketAddress {
  readonly id: NodeId
  readonly address: Address
}
