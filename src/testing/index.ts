/**
 * Deterministic simulation of networks of nodes and the applications that embed
 * them, in one process and under virtual time. Every run can be repeated from its
 * seed. Start with {@link SimWorld}.
 *
 * @since 0.1.0
 */
export * as Byzantine from "./Byzantine.ts"
export * as Fault from "./Fault.ts"
export * as History from "./History.ts"
export * as Interleavings from "./Interleavings.ts"
export * as Latency from "./Latency.ts"
export * as Measurement from "./Measurement.ts"
export * as Nat from "./Nat.ts"
export * as Properties from "./Properties.ts"
export * as PropertiesLiveness from "./PropertiesLiveness.ts"
export * as PropertiesSafety from "./PropertiesSafety.ts"
export * as Recorder from "./Recorder.ts"
export * as Recording from "./Recording.ts"
export * as Scenario from "./Scenario.ts"
export * as SeededRandom from "./SeededRandom.ts"
export * as SimCrypto from "./SimCrypto.ts"
export * as SimFileSystem from "./SimFileSystem.ts"
export * as SimHttp from "./SimHttp.ts"
export * as SimNetwork from "./SimNetwork.ts"
export * as SimTest from "./SimTest.ts"
export * as Simulation from "./Simulation.ts"
export * as SimWorld from "./SimWorld.ts"
export * as SkewedClock from "./SkewedClock.ts"
export * as Trace from "./Trace.ts"
export * as VirtualTime from "./VirtualTime.ts"
