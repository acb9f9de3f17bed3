/**
 * Ed25519 in native code: libsodium where the optional package `sodium-native`
 * is installed and loads, otherwise the OpenSSL that is part of Node. Both
 * follow the strict rule of `Crypto`.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Crypto, type Ed25519 } from "../Crypto.ts"
import * as Native from "./internal/nativeEd25519.ts"

/**
 * libsodium, the fastest; undefined where `sodium-native` is absent or does not
 * load on this machine.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sodium: Ed25519 | undefined = Native.sodium

/**
 * OpenSSL through `node:crypto`: always there, and half as fast at checking as
 * libsodium. It keeps up to 1024 parsed public keys.
 *
 * @category constructors
 * @since 0.1.0
 */
export const openssl: Ed25519 = Native.openssl

/**
 * {@link sodium} if there is one, otherwise {@link openssl}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fastest: Ed25519 = Native.fastest

/**
 * The fastest there is.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Crypto> = Layer.succeed(Crypto, fastest)

/**
 * The package `sodium-native` is not installed, or does not load on this machine.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoSodium extends Data.TaggedError("NoSodium")<{}> {
  override get message() {
    return "The package \"sodium-native\" is not installed, or does not load on this machine"
  }
}

/**
 * libsodium or nothing.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSodium: Layer.Layer<Crypto, NoSodium> = Layer.effect(
  Crypto,
  Effect.suspend(() => sodium === undefined ? Effect.fail(new NoSodium()) : Effect.succeed(sodium))
)

/**
 * OpenSSL, whether or not libsodium is there.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOpenSsl: Layer.Layer<Crypto> = Layer.succeed(Crypto, openssl)
