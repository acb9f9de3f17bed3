/**
 * Inspection of a record: `record decode`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Address from "../../Address.ts"
import * as Hex from "../../internal/hex.ts"
import { fastest } from "../../node/NodeCrypto.ts"
import * as Record from "../../Record.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"

/**
 * @category commands
 * @since 0.1.0
 */
export const decode = Effect.fnUntraced(function*({ hex, json }: { readonly hex: Uint8Array; readonly json: boolean }) {
  const record = yield* Effect.mapError(
    Effect.fromResult(Record.decode(hex)),
    ({ reason }) => Output.failed(`This is not a record: ${reason}`)
  )
  const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  const payload = Payloads.read(record)
  const signed = Record.isSigned(record, fastest)
  const fault = Record.fault(record, now)
  const authority = Record.authority({ crypto: fastest })(Record.ownKey(record), record, now)
  // Undefined if valid.
  const timeFault = fault === undefined ? undefined : Record.toError(fault).message
  const authorityFault = Result.isFailure(authority) ? authority.failure.message : undefined
  const type = `0x${record.type.toString(16).padStart(2, "0")}`
  yield* Output.print(
    json,
    {
      ...Payloads.signed(record),
      kind: payload.kind,
      ownKey: Record.ownKey(record),
      payload: payload.json,
      payloadHex: Hex.encode(record.payload),
      publicKey: Hex.encode(record.publicKey),
      signature: Hex.encode(record.signature),
      delegation: record.delegation === undefined ? undefined : Hex.encode(record.delegation),
      delegatedAt: record.delegation === undefined ? undefined : record.delegatedAt,
      holds: { signature: signed, time: timeFault === undefined, authority: authorityFault === undefined },
      faults: [signed ? [] : ["bad signature"], timeFault ?? [], authorityFault ?? []].flat()
    },
    Output.table([
      ["type", `${type} (${payload.kind})`],
      ["address", Address.format(record.address)],
      ["own key", Record.ownKey(record)],
      ...payload.rows,
      ["payload", `${record.payload.length} bytes: ${Hex.encode(record.payload)}`],
      ...Payloads.signedRows(record),
      ["public key", Hex.encode(record.publicKey)],
      ["signature", `${Hex.encode(record.signature)}, ${signed ? "good" : "BAD"}`],
      ["time", timeFault ?? "good"],
      ["authority", authorityFault ?? "good"],
      ...(record.delegation === undefined ? [] : [["delegation", Hex.encode(record.delegation)] as const])
    ])
  )
})
