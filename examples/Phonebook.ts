/**
 * An application service built on the DHT: it announces the endpoint of the
 * application while that runs, and finds others.
 *
 * `embed.ts` runs it on real sockets, `phonebook.test.ts` in a simulated network.
 */
import { Address, Dht, type Publisher } from "effect-dht"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** The URL of an address, and whether it is current or from an earlier lookup. */
export interface Entry {
  readonly url: string
  readonly isFresh: boolean
}

/** The address was not listed at the time of the lookup. */
export class Unlisted extends Data.TaggedError("Unlisted")<{ readonly address: Address.Address }> {
  override get message() {
    return `${Address.format(this.address)} is not listed`
  }
}

export class Phonebook extends Context.Service<Phonebook, {
  /** The address under which others find this application. */
  readonly own: Address.Address
  /** Finds the URL of an address; the last known one if the lookup fails. */
  readonly find: (address: Address.Address) => Effect.Effect<Entry, Unlisted>
}>()("example/Phonebook") {
  /** Lists the application under its address until the layer's scope closes, when the application ends. */
  static readonly layer = (url: string): Layer.Layer<Phonebook, Publisher.PublishError, Dht.Dht> =>
    Layer.effect(
      Phonebook,
      Effect.gen(function*() {
        const dht = yield* Dht.Dht
        yield* dht.announceEndpoint({ endpoints: [url] })
        const last = new Map<Address.Address, string>()

        const find = Effect.fn("Phonebook.find")(function*(address: Address.Address) {
          const { endpoints } = yield* Effect.catchTag(
            dht.resolve(address),
            "NoEndpoint",
            () => Effect.succeed({ endpoints: null })
          )
          const url = endpoints?.[0] ?? last.get(address)
          if (url === undefined) return yield* new Unlisted({ address })
          last.set(address, url)
          return { url, isFresh: endpoints !== null }
        })

        return Phonebook.of({ own: dht.address, find })
      })
    )
}
