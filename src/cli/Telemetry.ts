/**
 * Logs in the configured format, and export of logs, traces and metrics to an
 * OpenTelemetry collector.
 *
 * @since 0.1.0
 */
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Otlp from "effect/observability/Otlp"
import * as Option from "effect/Option"
import * as Output from "./Output.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Base URL of an OTLP/HTTP collector; `/v1/traces`, `/v1/metrics` and `/v1/logs` are appended. */
  readonly otlp: Option.Option<string>
  readonly logFormat: LogFormat
}

/**
 * `pretty`: for people. All of them go to the standard error.
 *
 * @category models
 * @since 0.1.0
 */
export type LogFormat = "pretty" | "json" | "logfmt"

const loggers: Readonly<Record<LogFormat, Logger.Logger<unknown, void>>> = {
  pretty: Output.logger,
  json: Logger.withConsoleError(Logger.formatJson),
  logfmt: Logger.withConsoleError(Logger.formatLogFmt)
}

/**
 * @category layers
 * @since 0.1.0
 */
export const layer = ({ logFormat, otlp }: Options): Layer.Layer<never> => {
  const logs = Logger.layer([loggers[logFormat]])
  return Option.match(otlp, {
    onNone: () => logs,
    onSome: (baseUrl) =>
      Otlp.layerJson({
        baseUrl,
        resource: { serviceName: "effect-dht" }
      }).pipe(
        Layer.provide(FetchHttpClient.layer),
        Layer.provideMerge(logs)
      )
  })
}
