/**
 * What is wrong with a document, as one sentence that names the member and does
 * not quote it if it is unknown: it may be secret.
 *
 * @since 0.1.0
 */
import * as SchemaIssue from "effect/SchemaIssue"

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => {
    switch (issue._tag) {
      case "MissingKey":
        return "is missing"
      case "UnexpectedKey":
        return "is unknown"
      default:
        return SchemaIssue.defaultLeafHook(issue)
    }
  }
})

/**
 * The first fault. `subject` says what has it, given the path of the member, with
 * dots; that of the document itself is empty.
 *
 * @internal
 */
export const first = (issue: SchemaIssue.Issue, subject: (name: string) => string): string => {
  const [fault] = format(issue).issues
  const name = (fault.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".")
  const message = fault.message.replaceAll("\n", " ")
  return message.startsWith("is ")
    ? `${subject(name)} ${message}`
    : `${subject(name)} is wrong: ${message[0].toLowerCase()}${message.slice(1)}`
}
