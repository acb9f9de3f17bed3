/**
 * Bundles a module for browsers, with all that it imports.
 */
import { build } from "rolldown"

export const bundle = async (input: string): Promise<string> => {
  const { output: [{ code }] } = await build({
    input,
    platform: "browser",
    // The source of this repository; without the condition, a program gets what is installed.
    resolve: { conditionNames: ["effect-dht-source", "browser", "import", "default"] },
    output: { minify: true },
    write: false,
    logLevel: "warn"
  })
  return code
}
