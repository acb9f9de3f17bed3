/**
 * Builds the documents of lookups. Their schemas are in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as NodeEvents from "../NodeEvents.ts"
import type * as Api from "./Api.ts"
import * as Lists from "./Lists.ts"
import * as RecordDocuments from "./RecordDocuments.ts"

/**
 * Rounds to microseconds.
 *
 * @category conversions
 * @since 0.1.0
 */
export const millis = (time: number): number => Math.round(time * 1000) / 1000

/**
 * The names of the kinds of lookups.
 *
 * @category constants
 * @since 0.1.0
 */
export const kinds = { FindNode: "find_node", FindValue: "find_value" } as const

const outcomes = { Done: "done", Found: "found", NotFound: "not_found", GivenUp: "given_up" } as const

const stepOutcomes = { Answered: "answered", Failed: "failed", Unanswered: "unanswered" } as const

const goal = (query: number, { kind, target, type }: NodeEvents.QueryGoal) => ({
  query,
  kind: kinds[kind],
  target_hex: target,
  rec_type: type ?? null
})

const ending = (trace: NodeEvents.QueryTrace) => ({
  duration_ms: millis(trace.durationMillis),
  outcome: outcomes[trace.outcome],
  requests: trace.steps.length,
  records: trace.records,
  closest: trace.closest.map(RecordDocuments.peer)
})

const step = (step: NodeEvents.QueryStep): typeof Api.QueryStep.Type => ({
  peer: RecordDocuments.peer(step.contact),
  learned_from_hex: step.learnedFrom ?? null,
  depth: step.depth,
  common_prefix_length: step.commonPrefixLength,
  asked_after_ms: millis(step.askedAfterMillis),
  took_ms: step.tookMillis === undefined ? null : millis(step.tookMillis),
  outcome: stepOutcomes[step.outcome],
  holds_record: step.holdsRecord,
  closer_nodes: step.closerNodes
})

/**
 * @category conversions
 * @since 0.1.0
 */
export const queryEvent = (event: NodeEvents.QueryEvent): typeof Api.QueryEvent.Type => {
  const at_ms = event.at
  switch (event._tag) {
    case "QueryStarted":
      return { type: "query-started", at_ms, ...goal(event.query, event) }
    case "QueryStepped":
      return { type: "query-stepped", at_ms, query: event.query, step: step(event.step) }
    case "QueryEnded":
      return { type: "query-ended", at_ms, ...goal(event.trace.query, event.trace), ...ending(event.trace) }
  }
}

/**
 * `/debug/queries`.
 *
 * @category documents
 * @since 0.1.0
 */
export const queries = Effect.fnUntraced(function*(
  limit: number
): Effect.fn.Return<typeof Api.Queries.Type, never, NodeEvents.NodeEvents> {
  const queries = yield* (yield* NodeEvents.NodeEvents).queries
  return {
    kept: NodeEvents.keptQueries,
    total: queries.length,
    queries: yield* Lists.inSteps(queries.slice(0, limit), (trace) => ({
      ...goal(trace.query, trace),
      started_at_ms: trace.startedAt,
      ...ending(trace),
      steps: trace.steps.map(step)
    }))
  }
})
