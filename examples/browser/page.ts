import { Address } from "effect-dht"
import { Agent, type StoredIdentity } from "effect-dht/browser"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"

const element = <E extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as E

/** The texts of a form's fields. */
const fields = (form: HTMLFormElement) => (name: string) => String(new FormData(form).get(name) ?? "").trim()

/** Text of others is text, never markup. */
const item = (...parts: ReadonlyArray<string | HTMLElement>): HTMLLIElement => {
  const li = document.createElement("li")
  li.append(...parts)
  return li
}

const labelled = (tag: string, text: string, className = ""): HTMLElement =>
  Object.assign(document.createElement(tag), { textContent: text, className })

const say = (status: string, error = ""): void => {
  element("status").textContent = status
  element("error").textContent = error
}

/** Runs what a form is for, with its button disabled meanwhile. */
const onSubmit = (id: string, action: (field: (name: string) => string) => Promise<void>): void => {
  const form = element<HTMLFormElement>(id)
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    const button = form.querySelector("button")
    if (button === null) return
    button.disabled = true
    say("")
    action(fields(form))
      .catch((error: Error) => say("", error.message))
      .finally(() => {
        button.disabled = false
      })
  })
}

type Runtime = ManagedRuntime.ManagedRuntime<Agent.Agent, StoredIdentity.UnusableStorage>

let runtime: Runtime | undefined
let announcement: Fiber.Fiber<unknown, unknown> | undefined

/** Runs an effect of the agent. */
const run = <A, E>(use: (agent: Agent.Agent["Service"]) => Effect.Effect<A, E>): Promise<A> =>
  runtime === undefined
    ? Promise.reject(new Error("Connect to a gateway first"))
    : runtime.runPromise(Effect.flatMap(Agent.Agent, use))

// --- Gateway -----------------------------------------------------------------------

onSubmit("gateway", async (field) => {
  await withdraw()
  await runtime?.dispose()
  const token = field("token")
  runtime = ManagedRuntime.make(Agent.layerStored({
    url: field("url"),
    token: token === "" ? undefined : Redacted.make(token),
    // One identity for each tab. With localStorage all tabs are one agent.
    storage: sessionStorage
  }))
  const { address } = await run(Effect.succeed)
  element("address").textContent = Address.format(address)
  element("who").hidden = false
  await showNotes()
  element("agent").hidden = false
  say("Connected")
  watchNotes(runtime)
})

// --- Offer -------------------------------------------------------------------------

onSubmit("offer", async (field) => {
  await withdraw()
  const [name, topic, brief, url] = ["name", "topic", "brief", "endpoint"].map(field)
  await new Promise<void>((resolve, reject) => {
    announcement = runtime?.runFork(
      Agent.Agent.use((agent) =>
        Effect.gen(function*() {
          // Short lives: after a crash the network soon forgets this tab.
          yield* agent.announceEndpoint({ endpoints: url === "" ? [] : [url], ttl: 600 })
          yield* agent.announceTopic({ topic, name, brief, protocols: ["note"], ttl: 600 })
          resolve()
          return yield* Effect.never
        })
      ).pipe(Effect.scoped, Effect.tapError((error) => Effect.sync(() => reject(error))))
    )
  })
  element("withdraw").hidden = false
  say(`Announced under ${topic}, for as long as this tab is open`)
})

/** Ends the announcement. Its records are withdrawn. */
const withdraw = async (): Promise<void> => {
  if (announcement === undefined) return
  const ending = announcement
  announcement = undefined
  element("withdraw").hidden = true
  await Effect.runPromise(Fiber.interrupt(ending))
}

element("withdraw").addEventListener("click", () => void withdraw().then(() => say("Withdrawn")))
addEventListener("pagehide", () => void withdraw())

// --- Others ------------------------------------------------------------------------

onSubmit("find", async (field) => {
  const topic = field("topic")
  const offers = await run((agent) => agent.discover(topic))
  say(`${offers.length} ${offers.length === 1 ? "offer" : "offers"} under ${topic}`)
  element("offers").replaceChildren(...offers.map(({ address, brief, name }) => {
    const text = Address.format(address)
    const where = labelled("div", "", "soft")
    const write = labelled("button", "Write", "quiet")
    write.addEventListener("click", () => {
      element<HTMLFormElement>("note").to.value = text
      element<HTMLFormElement>("note").text.focus()
    })
    run((agent) => agent.resolve(address)).then(
      (found) => where.textContent = found?.endpoints?.join(", ") ?? "",
      (error: Error) => say("", error.message)
    )
    return item(
      labelled("b", name),
      labelled("span", "signature verified", "verified"),
      labelled("div", brief),
      labelled("code", text),
      where,
      write
    )
  }))
})

// --- Notes -------------------------------------------------------------------------

onSubmit("note", async (field) => {
  const recipient = await Effect.runPromise(Effect.fromResult(Address.fromString(field("to"))))
  await run((agent) => agent.mail.send({ recipient, body: new TextEncoder().encode(field("text")) }))
  element<HTMLFormElement>("note").text.value = ""
  say("Sent")
})

const showNotes = async (): Promise<void> => {
  const notes = await run((agent) => agent.mail.read)
  if (notes.length === 0) return
  element("notes").replaceChildren(
    ...notes.map(({ body, record, sender }) =>
      item(
        labelled("div", new TextDecoder().decode(body)),
        labelled("small", `${new Date(Number(record.timestamp) * 1000).toLocaleTimeString()} from `),
        labelled("code", Address.format(sender))
      )
    ).reverse()
  )
}

/** Looks for notes every few seconds, for as long as this gateway is in use. */
const watchNotes = (runtime: Runtime): void => {
  runtime.runFork(
    Effect.promise(() => showNotes().catch((error: Error) => say("", error.message))).pipe(
      Effect.repeat(Schedule.spaced("5 seconds"))
    )
  )
}
