/**
 * Agents in a browser, or wherever there is no UDP: their keys stay there, and a
 * node is a gateway that need not be trusted. Start with {@link Agent}.
 *
 * @since 0.1.0
 */
export * as Agent from "./Agent.ts"
export * as Gateway from "./Gateway.ts"
export * as StoredIdentity from "./StoredIdentity.ts"
