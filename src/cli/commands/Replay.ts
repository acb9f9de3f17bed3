/**
 * One story of a simulated world: `replay`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Path from "node:path"
import * as NodeCrypto from "../../node/NodeCrypto.ts"
import * as ReplayPage from "../../node/ReplayPage.ts"
import * as Campaign from "../../testing/internal/campaign.ts"
import * as Story from "../../testing/internal/story.ts"
import { namesIn, runStory } from "../../testing/internal/storyRun.ts"
import * as Recorder from "../../testing/Recorder.ts"
import * as Output from "../Output.ts"
import * as OutputFile from "../OutputFile.ts"

interface Options {
  readonly story: string
  readonly html: Option.Option<string>
  readonly json: boolean
}

const crypto = NodeCrypto.fastest

/** Runs a story, and records it if wanted. */
const told = (story: Story.Story, isRecorded: boolean) => {
  const recorders: Array<Recorder.Recorder> = []
  let causes: ReadonlyArray<unknown> = []
  const result = Campaign.judge(story, (story) => {
    try {
      const outcome = runStory(
        story,
        crypto,
        isRecorded
          ? (world) => void recorders.push(Recorder.start(world, { names: namesIn(story, crypto) }))
          : undefined
      )
      causes = outcome.violations
      return outcome
    } catch (error) {
      causes = [error]
      throw error
    }
  })
  return {
    ...result,
    recording: recorders.at(0)?.finish({
      title: result.failure === undefined ? `seed ${story.seed}` : `${result.failure.kind}, seed ${story.seed}`,
      story: Story.format(story).split("\n").slice(0, -1),
      command: Story.replayCommand(story)
    }, causes)
  }
}

/**
 * Runs a story and prints its problems and the hash of its trace. Fails if it has
 * problems.
 *
 * @category commands
 * @since 0.1.0
 */
export const replay = Effect.fnUntraced(function*({ html, json, story: text }: Options) {
  const parsed = Story.parse(text)
  if (Result.isFailure(parsed)) return yield* Output.usage(`The story is not valid: ${parsed.failure}`)
  const story = parsed.success
  const path = Option.getOrUndefined(html)
  if (path !== undefined) yield* OutputFile.prepare("page", path)
  const { failure, hash, recording } = told(story, path !== undefined)
  if (path !== undefined && recording !== undefined) {
    yield* OutputFile.write("page", path, ReplayPage.page(recording))
  }
  const problems = failure?.problems ?? []
  yield* Output.print(json, { story: JSON.stringify(story), problems, hash: hash ?? null }, [
    ...Story.format(story).split("\n"),
    ...problems.flatMap((problem) => problem.split("\n")).map((line) => `  ${line}`),
    ...(hash === undefined ? [] : [`trace ${hash}`]),
    ...(path === undefined ? [] : [`page ${Path.resolve(path)}`]),
    ...(failure === undefined ? ["passes"] : [])
  ])
  if (failure !== undefined) return yield* Output.failed(`The story fails: ${failure.kind}`)
})
