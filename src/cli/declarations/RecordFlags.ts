/**
 * Flags of the commands that publish or announce records.
 *
 * @since 0.1.0
 */
import * as Flag from "effect/cli/Flag"
import * as Options from "../Options.ts"

export const common = {
  ttl: Options.ttl,
  ...Options.joining,
  data: Options.author,
  passphraseEnv: Options.passphraseEnv,
  json: Options.json
}

/** Flags that describe an agent. `bound` is the length limit of `--brief`, for its help. */
export const about = (bound: string) => ({
  name: Flag.String("name").pipe(Flag.withDescription("Name of the agent"), Flag.withDefault("")),
  brief: Flag.String("brief").pipe(
    Flag.withDescription(`One-sentence description${bound}`),
    Flag.withDefault("")
  ),
  protocol: Flag.String("protocol").pipe(
    Flag.withDescription("Protocol that the agent supports; repeatable"),
    Flag.atLeast(0)
  )
})

export const endpointFlags = {
  endpoint: Options.endpoint,
  natType: Flag.ChoiceWithValue("nat-type", [
    ["unknown", "unknown"],
    ["full-cone", "fullCone"],
    ["restricted", "restricted"],
    ["port-restricted", "portRestricted"],
    ["symmetric", "symmetric"]
  ]).pipe(
    Flag.withDescription("NAT type of the agent's router"),
    Flag.withDefault("unknown")
  )
}

export const topicFlags = {
  topic: Options.topic,
  ...about(", at most 140 characters"),
  tag: Flag.String("tag").pipe(Flag.withDescription("Tag to filter by; repeatable"), Flag.atLeast(0))
}

export const profileFlags = {
  ...about(""),
  skill: Flag.String("skill").pipe(Flag.withDescription("Skill of the agent; repeatable"), Flag.atLeast(0)),
  agentCard: Options.agentCard,
  allowPrivate: Options.allowPrivate
}
