import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { spawnSync } from "node:child_process"
import * as Address from "../../src/Address.ts"
import { program } from "../utils/processes.ts"
import { joined, running, startNode } from "../utils/runningNode.ts"

const has = (command: string): boolean => spawnSync(command, ["--version"]).status === 0

const folder = "examples/other-languages"

describe("examples in other languages", () => {
  it.live.skipIf(!has("python3"))(
    "Python: two agents find each other through their nodes, and exchange messages",
    () =>
      Effect.gen(function*() {
        const peer = yield* startNode()
        const [ann, ben] = [yield* joined(peer), yield* joined(peer)]
        const python = ({ data, url }: typeof ann, ...args: ReadonlyArray<string>) =>
          program("python3", [`${folder}/agent.py`, "--url", url, "--data", data, ...args])
        const serving = yield* python(ann, "serve", "--name", "Ann", "--topic", "über/setzen")
        yield* serving.line(/^announced über\/setzen$/)
        const asking = yield* python(ben, "ask", "--topic", "über/setzen", "Good morning")
        const { code, error, out } = yield* asking.ended
        assert.deepStrictEqual({ code, error, out }, {
          code: 0,
          error: [],
          out: [`asking Ann ${ann.address} of profile Ann`, "Re: Good morning"]
        })
        yield* serving.line(new RegExp(`^from ${ben.address}: Good morning$`))
        const none = yield* Effect.flatMap(python(ben, "ask", "--topic", "none", "x"), ({ ended }) => ended)
        assert.deepStrictEqual([none.code, none.error], [1, ["No agent offers none"]])
      }),
    90_000
  )

  it.live.skipIf(!has("python3"))(
    "Python: an agent with an endpoint and no profile is asked as well",
    () =>
      Effect.gen(function*() {
        const { address, data, peer, url } = yield* running
        yield* peer.publishEndpoint({ endpoints: ["tcp://203.0.113.5:80"] })
        yield* peer.publishTopic({ topic: "translate", name: "Ann", protocols: ["note"] })
        const args = ["--url", url, "--data", data, "ask", "--topic", "translate", "Good morning"]
        const asking = yield* program("python3", [`${folder}/agent.py`, ...args])
        yield* asking.line(new RegExp(`^asking Ann ${Address.format(peer.agent)} of profile None$`))
        const [message] = yield* Stream.runCollect(Stream.take(peer.mail.messages, 1))
        assert.strictEqual(Address.format(message.sender), address)
      }),
    90_000
  )

  it.live.skipIf(!has("python3"))(
    "Python: an error of the node is one line with its tag",
    () =>
      Effect.gen(function*() {
        const { data, url } = yield* running
        const args = ["--url", url, "--data", data, "serve", "--name", "A".repeat(900), "--topic", "x"]
        const { code, error } = yield* Effect.flatMap(
          program("python3", [`${folder}/agent.py`, ...args]),
          ({ ended }) => ended
        )
        assert.strictEqual(code, 1)
        assert.match(error.join("\n"), /^InvalidRecord: .*name/)
      }),
    90_000
  )

  it.live.skipIf(!has("curl"))(
    "curl: announces an offer, shows it and withdraws it",
    () =>
      Effect.gen(function*() {
        const { address, data, peer, url } = yield* running
        const shell = program("env", [`URL=${url}`, `DATA=${data}`, "sh", `${folder}/agent.sh`, "translate", "Ann"])
        const { code, error, out } = yield* Effect.flatMap(shell, ({ ended }) => ended)
        assert.deepStrictEqual({ code, error }, { code: 0, error: [] })
        const [announced, topic] = out.map((line) => JSON.parse(line))
        assert.deepStrictEqual([announced.title, announced.standing, announced.durable], ["translate", true, true])
        assert.deepStrictEqual(topic.offers.map((offer: typeof topic) => [offer.address, offer.name]), [[
          address,
          "Ann"
        ]])
        assert.strictEqual((yield* Effect.flip(peer.discover("translate")))._tag, "NoMatchingRecords")
      }),
    90_000
  )
})
