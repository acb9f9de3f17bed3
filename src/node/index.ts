/**
 * Everything that needs Node.js: UDP, native signatures, threads, files, DNS, and
 * `DhtLive`, a complete node.
 *
 * @since 0.1.0
 */
export * as AgentCard from "./AgentCard.ts"
export * as DataDirectory from "./DataDirectory.ts"
export * as DelegationFile from "./DelegationFile.ts"
export { DhtLive } from "./DhtLive.ts"
export * as DnsResolver from "./DnsResolver.ts"
export * as HttpToken from "./HttpToken.ts"
export * as IdentityFile from "./IdentityFile.ts"
export * as NodeConfig from "./NodeConfig.ts"
export * as NodeCrypto from "./NodeCrypto.ts"
export * as NodeHttp from "./NodeHttp.ts"
export * as NodeVerifier from "./NodeVerifier.ts"
export * as PostgresClient from "./PostgresClient.ts"
export * as ProcessMetrics from "./ProcessMetrics.ts"
export * as ReplayPage from "./ReplayPage.ts"
export * as RunningNode from "./RunningNode.ts"
export * as SqliteClient from "./SqliteClient.ts"
export * as SqlitePersistence from "./SqlitePersistence.ts"
export * as UdpTransport from "./UdpTransport.ts"
