import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Address } from "../../src/Address.ts"
import * as Hex from "../../src/internal/hex.ts"
import type { NodeId } from "../../src/NodeId.ts"
import type * as Record from "../../src/Record.ts"

const directory = process.env.VECTORS_DIR ?? join(import.meta.dirname, "../vectors")

/** A node that a recorded message names. */
export interface NodeJson {
  readonly address: Address
  readonly nodeId: NodeId
  readonly ip: string
  readonly port: number
}

/** The fields of a recorded record; bytes as hexadecimal digits. */
export interface RecordFields {
  readonly address: Address
  readonly delegation?: string
  readonly payload: string
  readonly pubkey: string
  readonly recType: number
  readonly seq: string
  readonly signature: string
  readonly timestamp: string
  readonly ttl: number
}

/** The fields of a record from those of a recorded one. */
export const fieldsOf = (record: RecordFields): Record.Fields => ({
  address: record.address,
  type: record.recType,
  payload: Hex.decode(record.payload),
  seq: BigInt(record.seq),
  timestamp: BigInt(record.timestamp),
  ttl: record.ttl,
  publicKey: Hex.decode(record.pubkey),
  signature: Hex.decode(record.signature),
  delegation: record.delegation === undefined ? undefined : Hex.decode(record.delegation)
})

/** One file of recorded vectors, of the shape `A`; `VECTORS_DIR` names another directory of such files. */
export const vectors = <A>(name: string): A => JSON.parse(readFileSync(join(directory, name), "utf8"))
