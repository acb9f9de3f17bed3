/**
 * Records that are refused because of the arguments of a command.
 *
 * @since 0.1.0
 */
import type { PublishError } from "../Publisher.ts"
import type { Excess } from "../Record.ts"
import * as Output from "./Output.ts"

/** The option or argument of each field of a payload. */
const given: { readonly [field: string]: string } = {
  endpoints: "--endpoint",
  topic: "the topic",
  name: "--name",
  brief: "--brief",
  protocols: "--protocol",
  tags: "--tag",
  skills: "--skill",
  meta: "--agent-card",
  body: "the text"
}

/**
 * The failure of an argument that does not fit into a record.
 *
 * @category conversions
 * @since 0.1.0
 */
export const tooLong = ({ field, limit, size, unit }: { readonly [K in keyof Excess]: Excess[K] | string }) =>
  Output.usage(
    `${given[String(field)] ?? field} is too long: ${size} ${unit}, and at most ${limit} fit into the record`
  )

/**
 * The failure of a command; a record that the arguments make invalid is a usage
 * error.
 *
 * @category conversions
 * @since 0.1.0
 */
export const refused = (error: PublishError): Output.Failure => {
  if (error._tag !== "InvalidRecord" && error._tag !== "RecordTooLarge") return Output.failed(error.message)
  return error.excess === undefined ? Output.usage(error.message) : tooLong(error.excess)
}
