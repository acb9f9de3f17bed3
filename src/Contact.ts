/**
 * A node as others name it: who it is and where its datagrams go.
 *
 * @since 0.1.0
 */
import type { Address } from "./Address.ts"
import type { NodeId } from "./NodeId.ts"
import type { SocketAddress } from "./SocketAddress.ts"

/**
 * `id` is always the hash of `address`: whoever builds a contact checks that.
 *
 * @category models
 * @since 0.1.0
 */
export interface Contact extends SocketAddress {
  readonly id: NodeId
  readonly address: Address
}
