/**
 * Errors of a node, put for a language model: what failed, and what it or the
 * person it works for can do.
 *
 * @since 0.1.0
 */
import type { HttpClientError } from "effect/http/HttpClientError"
import type { SchemaError } from "effect/Schema"
import type { Problem } from "../../http/Problem.ts"
import type * as Output from "../Output.ts"
import { type Failed, failed } from "./Tools.ts"

/**
 * Why a request to the node failed, or why there is no node.
 *
 * @category models
 * @since 0.1.0
 */
export type Failing = Problem | HttpClientError | SchemaError | Output.Failure

/** What to do, where the node's own words do not say it. */
const advice: { readonly [tag: string]: string } = {
  NoMatchingRecords: "The agent announces nothing at the moment: check the address, or try again later",
  NotAnnounced: "whoami lists your announcements",
  TimedOut: "Try again: the network may be slow, or parts of it unreachable",
  StaleRecord: "Another program publishes under the same address: the person you work for can stop one of them",
  DelegationExpired: "The person you work for has to renew it",
  Internal: "The node's log has the reason"
}

const sentence = (text: string): string => `${text.replace(/\.$/, "")}.`

const unexpected = (reason: string): Failed =>
  failed(
    "NodeUnavailable",
    `The node did not answer as expected: ${
      sentence(reason)
    } The person you work for can check that it is of the same ` +
      "version as this server."
  )

/**
 * @category conversions
 * @since 0.1.0
 */
export const failureOf = (error: Failing): Failed => {
  switch (error._tag) {
    case "Failure":
      return failed("NodeUnavailable", sentence(error.message))
    case "HttpClientError":
      return error.response === undefined
        ? failed(
          "NodeUnavailable",
          `No node answers at ${
            new URL(error.request.url).origin
          }. The person you work for can start it there, or start this ` +
            "server with the URL of another one (--node), or with a node of its own (--data DIRECTORY)."
        )
        : unexpected(error.message)
    case "SchemaError":
      return unexpected(error.message)
    case "Unauthorized":
      return failed(
        "Unauthorized",
        "The node did not accept the token of this server, which it needs to act for you. The person you work for can " +
          "start the server with --data DIRECTORY of the node, or with --http-token-env NAME."
      )
    default: {
      const { _tag, detail } = error
      const what = advice[_tag]
      return failed(_tag, what === undefined ? sentence(detail) : `${sentence(detail)} ${what}.`)
    }
  }
}
