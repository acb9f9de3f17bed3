/**
 * Checks that the routes of the HTTP interface declare: a request matches its
 * schema, and comes from the owner of the node where it needs to.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { admitsRecordsOf, digest, isToken } from "../internal/httpGuard.ts"
import * as Problem from "./Problem.ts"
import * as SchemaFaults from "./SchemaFaults.ts"

/**
 * Explains why a request does not match its schema. It declares the problems
 * that every request can have, so that clients can read them.
 *
 * @category services
 * @since 0.1.0
 */
export class Explained extends HttpApiMiddleware.Service<Explained>()("effect-dht/http/Checks/Explained", {
  error: [
    Problem.problems.BadRequest,
    Problem.problems.Unauthorized,
    Problem.problems.CrossOrigin,
    Problem.problems.TooLarge,
    Problem.problems.UnsupportedMediaType,
    Problem.problems.UnknownHost,
    Problem.problems.RateLimited,
    Problem.problems.Internal,
    Problem.problems.TooMany
  ]
}) {}

/**
 * Admits the owner of the node only, who has its token: for routes that act for
 * the node's agent, or show what is private to it.
 *
 * @category services
 * @since 0.1.0
 */
export class Owner extends HttpApiMiddleware.Service<Owner>()("effect-dht/http/Checks/Owner", {
  error: Problem.problems.Unauthorized,
  security: { token: HttpApiSecurity.bearer }
}) {}

/**
 * Who sends a request: the owner of the node, or a guest without its token.
 *
 * @category services
 * @since 0.1.0
 */
export class Sender extends Context.Service<Sender, "Owner" | "Guest">()("effect-dht/http/Checks/Sender") {}

/**
 * Admits the owner of the node, and those who may publish records that they have
 * signed without its token.
 *
 * @category services
 * @since 0.1.0
 */
export class OwnerOrGuest extends HttpApiMiddleware.Service<OwnerOrGuest, { provides: Sender }>()(
  "effect-dht/http/Checks/OwnerOrGuest",
  { error: Problem.problems.Unauthorized, security: { token: HttpApiSecurity.bearer } }
) {}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Token of the node's owner. Without one, and unless `open`, no request acts for the node. */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Whether every client may act for the node. Defaults to false. */
  readonly open?: boolean | undefined
  /**
   * Origins whose pages may publish records that they have signed, without the
   * token; `*` is every origin, and programs as well. None by default.
   */
  readonly records?: ReadonlyArray<string> | undefined
}

/** The parts of a request, as a message names what is in them. */
const parts = {
  Params: (name: string) => `${name} in the path`,
  Query: (name: string) => `The parameter ${name}`,
  Headers: (name: string) => `The header ${name}`,
  Payload: (name: string) => name === "" ? "The body" : `The member ${name} of the body`
} as const

/** The first fault of a request, as one sentence. */
const faultOf = ({ cause, kind }: HttpApiSchemaError): string =>
  SchemaFaults.first(cause.issue, parts[kind === "Body" || kind === "ResponseHeaders" ? "Payload" : kind])

const noToken =
  "This request acts for the node, which has no token that would allow it. Start the node with one, or open"

const wrongToken = "This request acts for the node and needs its token. Send it as Authorization: Bearer …"

/**
 * All checks.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  { open = false, records = [], token }: Options
): Layer.Layer<Explained | Owner | OwnerOrGuest> => {
  const wanted = token === undefined ? undefined : digest(Redacted.value(token))
  const refused = Effect.fail(Problem.make("Unauthorized", wanted === undefined ? noToken : wrongToken))
  const recordOrigins = new Set(records)
  const isOwner = (credential: Redacted.Redacted): boolean =>
    open || wanted !== undefined && isToken(wanted, Redacted.value(credential))
  return Layer.mergeAll(
    HttpApiMiddleware.layerSchemaErrorTransform(
      Explained,
      (failure) =>
        failure.kind === "Body" || failure.kind === "ResponseHeaders"
          ? Effect.fail(failure)
          : Effect.fail(Problem.make("BadRequest", faultOf(failure)))
    ),
    Layer.succeed(Owner, {
      token: (handled, { credential }) => isOwner(credential) ? handled : refused
    }),
    Layer.succeed(OwnerOrGuest, {
      token: (handled, { credential }) =>
        Effect.gen(function*() {
          if (isOwner(credential)) return yield* Effect.provideService(handled, Sender, "Owner")
          const { headers: { authorization, origin } } = yield* HttpServerRequest
          // A wrong token is a mistake, which its sender should know of.
          return authorization === undefined && admitsRecordsOf(recordOrigins, origin)
            ? yield* Effect.provideService(handled, Sender, "Guest")
            : yield* refused
        })
    })
  )
}
