/**
 * A live view of a running node in the terminal: `top`.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Terminal from "effect/Terminal"
import * as Client from "../../http/Client.ts"
import type { Problem } from "../../http/Problem.ts"
import * as Output from "../Output.ts"
import * as Secrets from "../Secrets.ts"
import * as TopFrame from "../TopFrame.ts"

interface Options {
  readonly url: string
  /** The name of an environment variable. */
  readonly httpTokenEnv: Option.Option<string>
  readonly once: boolean
  readonly json: boolean
}

// --- Sampling ---------------------------------------------------------------------

const timeout = "5 seconds"

const interval = "1 second"

/** Number of samples of the history: five minutes. */
const recentSamples = 60

const otherVersion = "the server there is not a node of this version"

/** Why there is no sample, as text. */
const reasonOf = (error: HttpClientError | Cause.TimeoutError | Schema.SchemaError | Problem) => {
  switch (error._tag) {
    case "TimeoutError":
      return `no answer in ${timeout}`
    case "SchemaError":
      return otherVersion
    case "HttpClientError":
      // A proxy before the node has documents of its own.
      return error.response === undefined
        ? "no server answers there"
        : error.response.status === 401
        ? Secrets.noToken
        : otherVersion
    case "Unauthorized":
      return Secrets.noToken
    case "UnknownHost":
      return "the server does not accept that host name"
    default:
      return error.detail
  }
}

/** An effect that requests all data of a frame and fails with the reason. */
const sampling = Effect.fnUntraced(function*({ httpTokenEnv, url }: Options) {
  const token = Option.isNone(httpTokenEnv)
    ? undefined
    : yield* Secrets.fromEnv("--http-token-env", httpTokenEnv.value)
  const { announcements, debug, node } = yield* Client.make({ url, token })
  const sample = Effect.all({
    overview: node.overview(),
    buckets: node.buckets(),
    queries: debug.queries({ query: {} }),
    announcements: announcements.list({ query: {} }),
    store: node.store({ query: { limit: 0 } }),
    history: node.history({ query: { limit: recentSamples } })
  }, { concurrency: "unbounded" }).pipe(
    Effect.timeout(timeout),
    Effect.mapError(reasonOf)
  )
  return { sample }
}, Effect.provide(FetchHttpClient.layer))

// --- Display -----------------------------------------------------------------------

const escape = "\u001b["

/** Switches to the terminal's alternate screen and hides the cursor; restores both however the process ends. */
const ownScreen = Effect.acquireRelease(
  Effect.sync(() => {
    const leave = () => {
      process.off("exit", leave)
      process.stdout.write(`${escape}0m${escape}?25h${escape}?1049l`)
    }
    // In case the process exits without running finalizers.
    process.on("exit", leave)
    process.stdout.write(`${escape}?1049h${escape}?25l`)
    return leave
  }),
  (leave) => Effect.sync(leave)
)

const styles = { Plain: "", Title: `${escape}1m`, Alert: `${escape}7m` }

/** The colors of the terminal's own palette, which suit its background. */
const colors = {
  good: `${escape}32m`,
  warning: `${escape}33m`,
  bad: `${escape}31m`,
  soft: `${escape}2m`,
  accent: `${escape}36m`
}

/** A line with the sequences of its style and colors; each span restores the style of the line. */
const styled = ({ paint = [], style, text }: TopFrame.Line): string => {
  let shown = styles[style]
  let at = 0
  for (const { color, from, to } of paint) {
    shown += `${text.slice(at, from)}${colors[color]}${text.slice(from, to)}${escape}0m${styles[style]}`
    at = to
  }
  return `${shown}${text.slice(at)}${style === "Plain" ? "" : `${escape}0m`}`
}

const draw = (lines: ReadonlyArray<TopFrame.Line>, isStyled: boolean): string =>
  `${escape}H` +
  lines.map((line) => `${isStyled ? styled(line) : line.text}${escape}K`).join("\r\n") +
  `${escape}J`

/** Displays the node until `q` or Ctrl-C is pressed. */
const live = Effect.fnUntraced(
  function*(url: string, sample: Effect.Effect<TopFrame.Sample, string>, first: TopFrame.Sample) {
    const terminal = yield* Terminal.Terminal
    const { canColor } = yield* TerminalCapabilities
    const keys = process.stdin.isTTY ? yield* terminal.readInput : undefined
    const sizes = yield* terminal.size
    yield* ownScreen

    let state: TopFrame.State = {
      url,
      sample: first,
      previous: undefined,
      problem: undefined,
      keys: keys && "running"
    }
    const isPaused = () => state.keys === "paused"
    let size: TopFrame.Size = yield* Queue.take(sizes)
    const show = Effect.suspend(() => terminal.display(draw(TopFrame.frame(state, size), canColor)))

    const resize = Effect.gen(function*() {
      size = yield* Queue.take(sizes)
      yield* show
    })
    const next = Effect.gen(function*() {
      yield* Effect.sleep(interval)
      if (isPaused()) return
      const next = yield* Effect.result(sample)
      // A key may have paused the display in the meantime.
      if (isPaused()) return
      state = Result.match(next, {
        onSuccess: (sample): TopFrame.State => ({ ...state, sample, previous: state.sample, problem: undefined }),
        onFailure: (problem) => ({ ...state, problem })
      })
      yield* show
    })
    const pause = Effect.suspend(() => {
      state = { ...state, keys: isPaused() ? "running" : "paused" }
      return show
    })
    const untilQuit = keys === undefined
      ? Effect.never
      : Effect.repeat(
        Effect.tap(Queue.take(keys), ({ key }) => key.name === "p" ? pause : Effect.void),
        { until: ({ key }) => key.name === "q" }
      )

    yield* show
    yield* Effect.raceAllFirst([Effect.forever(resize), Effect.forever(next), untilQuit])
  },
  Effect.scoped,
  // Reaching the end of the input means quit; if the terminal is gone there is nothing to show.
  (shown) => Effect.ignore(shown)
)

/** Cells per line without a terminal. */
const usualColumns = 80

/**
 * @category commands
 * @since 0.1.0
 */
export const top = Effect.fnUntraced(function*(options: Options) {
  const { json, once, url } = options
  const { sample } = yield* sampling(options)
  const ask = Effect.mapError(sample, (reason) => Output.failed(`${url}: ${reason}`))
  const first = yield* ask
  if (!once && !json && process.stdout.isTTY) return yield* live(url, sample, first)
  yield* Effect.sleep(interval)
  const state = { url, sample: yield* ask, previous: first, problem: undefined }
  const lines = TopFrame.frame(state, { columns: process.stdout.columns ?? usualColumns, rows: Infinity })
  yield* json ? Output.print(true, state.sample, []) : Console.log(lines.map(({ text }) => text).join("\n"))
})
