/**
 * A service of an application that is built on the DHT: it says where the
 * application can be reached for as long as that runs, and finds others.
 *
 * `embed.ts` runs it on real sockets, `phonebook.test.ts` in a simulated network.
 */
import { Address, Dht, type Publisher } from "effect-dht"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Where somebody is, and whether the network said so just now or some time ago. */
export interface Entry {
  readonly url: string
  readonly isFresh: boolean
}

/** Nobody of that address was listed while we looked. */
export class Unlisted extends Data.TaggedError("Unlisted")<{ readonly address: Address.Address }> {
  override get message() {
    return `${Address.format(this.address)} is not listed`
  }
}

export class Phonebook extends Context.Service<Phonebook, {
  /** How others find this application. */
  readonly own: Address.Address
  /** Where an address is; where it last was, if the network does not say. */
  readonly find: (address: Address.Address) => Effect.Effect<Entry, Unlisted>
}>()("example/Phonebook") {
  /** Lists the application under its address until the layer's scope closes, which is when the application ends. */
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
