/**
 * The primitives in native code: libsodium if the optional package
 * `sodium-native` is installed and loads, otherwise Node's OpenSSL. Both apply
 * the strict verification rule of `Crypto`.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Crypto, type Provider } from "../Crypto.ts"
import * as Native from "./internal/nativeCrypto.ts"

/**
 * libsodium, the fastest implementation (AES and HKDF are OpenSSL's); undefined
 * if `sodium-native` is not installed or does not load on this machine.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sodium: Provider | undefined = Native.sodium

/**
 * OpenSSL through `node:crypto`, always available. It verifies half as fast as
 * libsodium and caches up to 1024 parsed public keys.
 *
 * @category constructors
 * @since 0.1.0
 */
export const openssl: Provider = Native.openssl

/**
 * {@link sodium} if available, otherwise {@link openssl}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fastest: Provider = Native.fastest

/**
 * Provides `Crypto` by the fastest available implementation.
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
 * Provides `Crypto` by libsodium; fails with `NoSodium` if it is not available.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSodium: Layer.Layer<Crypto, NoSodium> = Layer.effect(
  Crypto,
  Effect.suspend(() => sodium === undefined ? Effect.fail(new NoSodium()) : Effect.succeed(sodium))
)

/**
 * Provides `Crypto` by OpenSSL, even if libsodium is available.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOpenSsl: Layer.Layer<Crypto> = Layer.succeed(Crypto, openssl)
