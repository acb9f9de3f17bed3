/**
 * The commands that simulate networks.
 *
 * @since 0.1.0
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Schema from "effect/Schema"
import { hinted, integer, number } from "../../node/internal/textCodec.ts"
import * as Options from "../Options.ts"
import * as Parameter from "../Parameter.ts"
import * as SimulationFlags from "../SimulationFlags.ts"
import { handler } from "./Handler.ts"

const maxSoakMinutes = 60 * 24 * 365
const maxWorkers = 1024
const maxSeed = Number.MAX_SAFE_INTEGER - 1_000_000_000

export const simulate = Command.make(
  "simulate",
  {
    ...SimulationFlags.flags,
    report: Flag.String("report").pipe(
      Flag.withMetavar("file.html"),
      Flag.withDescription("Write an HTML report with plots to this file"),
      Flag.filter((path) => path !== "" && path !== "-", () => "the name of a file"),
      Flag.optional
    ),
    json: Options.json
  },
  handler(() => import("../commands/Simulate.ts").then(({ simulate }) => simulate))
).pipe(
  Command.withDescription(
    "Run a whole network in this process, hours in minutes, and print a report at the end. The same options " +
      "reproduce the same run, byte for byte. Exit code 1 if an expectation of every run does not hold"
  ),
  Command.withShortDescription("Simulate a whole network"),
  Command.withExamples([
    { command: "effect-dht simulate", description: "100 nodes for two hours, in about 20 seconds" },
    {
      command: "effect-dht simulate --nodes 1000 --hours 24 --loss 0.05 --churn 0.3/h --byzantine 0.1 " +
        "--partition at=2h,for=30m,share=0.4 --report report.html",
      description: "With loss, churn, lying nodes and a partition"
    }
  ])
)

export const soak = Command.make(
  "soak",
  {
    minutes: Parameter.flag(
      "minutes",
      "number",
      number(Schema.isBetween({ minimum: 0, maximum: maxSoakMinutes })).pipe(
        hinted(`write a number of minutes up to ${maxSoakMinutes}`)
      ),
      "Minutes after which no further world starts (default 1)"
    ).pipe(Flag.withDefault(1)),
    worlds: Flag.optional(Parameter.flag(
      "worlds",
      "number",
      integer(1, Number.MAX_SAFE_INTEGER),
      "Most worlds (default no limit). Give each of several machines a range of its own with --from"
    )),
    workers: Flag.optional(
      Parameter.flag("workers", "number", integer(1, maxWorkers), "Number of threads (default one per core)")
    ),
    from: Flag.optional(
      Parameter.flag("from", "number", integer(0, maxSeed), "First seed; the following count up (default random)")
    ),
    seed: Flag.optional(Parameter.flag("seed", "number", integer(0, maxSeed), "Run only the world of this seed")),
    all: Options.toggle("all", "Continue after a failure, and collect failures by kind"),
    state: Flag.optional(
      Flag.String("state").pipe(
        Flag.withMetavar("file"),
        Flag.withDescription("Save the progress in this file, and continue from it the next time")
      )
    ),
    junit: Flag.optional(
      Flag.String("junit").pipe(Flag.withMetavar("file.xml"), Flag.withDescription("Write a JUnit report to this file"))
    ),
    json: Options.json
  },
  handler(() => import("../commands/Soak.ts").then(({ soak }) => soak))
).pipe(
  Command.withDescription(
    "Run random worlds of a few nodes with faults, on all cores, and check that every property holds. A world that " +
      "fails is shortened to a story of a few lines, with the command that runs it again. Exit code 1 if a world fails"
  ),
  Command.withShortDescription("Search for failures in random worlds"),
  Command.withExamples([
    { command: "effect-dht soak --minutes 10", description: "Until a world fails, for at most ten minutes" },
    {
      command: "effect-dht soak --all --minutes 480 --state soak.json --junit soak.xml",
      description: "One night; the next continues where it ended"
    }
  ])
)

export const replay = Command.make(
  "replay",
  {
    story: Argument.String("story").pipe(Argument.withDescription("A story as soak prints it, in JSON")),
    html: Flag.optional(
      Flag.String("html").pipe(
        Flag.withMetavar("file.html"),
        Flag.withDescription("Write a page to this file, to step through what happened in a browser")
      )
    ),
    json: Options.json
  },
  handler(() => import("../commands/Replay.ts").then(({ replay }) => replay))
).pipe(
  Command.withDescription(
    "Run one story again, with the same trace. The page shows each datagram and what it says, faults, lookups and " +
      "timeouts, the routing table and store of each node at every moment, and the events that a violated property " +
      "rests on. Exit code 1 if the story fails"
  ),
  Command.withShortDescription("Repeat a story, and show what happened"),
  Command.withExamples([
    {
      command: "effect-dht replay --html replay.html \"$(cat story.json)\"",
      description: "A story that was saved to a file"
    }
  ])
)
