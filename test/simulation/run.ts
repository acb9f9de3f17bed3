/** Runs stories with real signatures. */
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import type { Story } from "../../src/testing/internal/story.ts"
import * as storyRun from "../../src/testing/internal/storyRun.ts"

export type { Outcome } from "../../src/testing/internal/storyRun.ts"

export { runProgram } from "../../src/testing/internal/storyRun.ts"

export const runStory = (story: Story): storyRun.Outcome => storyRun.runStory(story, NodeCrypto.fastest)

export const replayHint = (command: string): string => `run it again: ${command}`
