/**
 * Hosting of identities by many nodes, from a table in a SQL database.
 *
 * @module
 * @since 0.1.0
 */
export * as IdentityTable from "./IdentityTable.ts"
export * as Runner from "./Runner.ts"
export * as Shards from "./Shards.ts"
