/**
 * A small internet of network namespaces: a core that routes between public /24
 * networks, hosts in some of them, and hosts behind routers, whose address
 * translation is the kernel's. It disappears with its scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"

const run = (command: string, ...args: ReadonlyArray<string>): void => {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"], timeout: 10_000 })
}

/** Runs `ip` with a line of arguments. */
const ip = (line: string): void => run("ip", ...line.split(" "))

/**
 * How a router chooses the port of a mapping: the one inside where it is free, which
 * makes the mapping endpoint-independent, or a random one for each peer. Either lets
 * in what answers a datagram from inside.
 */
export type Mapping = "Preserving" | "Random"

/** A namespace in which programs can be run. */
export interface Place {
  readonly namespace: string
  /** The words before a command that run it here. */
  readonly run: ReadonlyArray<string>
}

/** A host in the open. */
export interface OpenHost extends Place {
  readonly host: string
}

/** A host behind a router. */
export interface ClosedHost extends Place {
  /** The address of its router. */
  readonly host: string
  /** Replaces the router by one that knows no mapping, at an address of this public network. */
  readonly reboot: (network: number) => Effect.Effect<ClosedHost>
}

export interface Internet {
  /** A host at an address of this public network, 11.0.`network`.0/24. */
  readonly open: (network: number) => Effect.Effect<OpenHost>
  /** A host behind a router at an address of this public network. */
  readonly behind: (network: number, mapping: Mapping) => Effect.Effect<ClosedHost>
}

const rules = (mapping: Mapping): string => `
  table ip router {
    chain out {
      type nat hook postrouting priority srcnat
      oifname "wan" masquerade ${mapping === "Random" ? "fully-random" : ""}
    }
    chain through {
      type filter hook forward priority filter
      iifname "wan" ct state established accept
      iifname "wan" drop
    }
    chain in {
      type filter hook input priority filter
      iifname "wan" drop
    }
  }`

/** Builds the core, to which hosts and routers are added. */
export const make: Effect.Effect<Internet, never, Scope.Scope> = Effect.gen(function*() {
  const prefix = `dht${process.pid}`
  const namespaces = new Set<string>()
  let links = 0

  const remove = (namespace: string): void => {
    if (namespaces.delete(namespace)) ip(`netns del ${namespace}`)
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => namespaces.forEach(remove)))

  const add = (name: string, isRouter: boolean): Place => {
    const namespace = `${prefix}-${name}`
    ip(`netns add ${namespace}`)
    namespaces.add(namespace)
    ip(`-n ${namespace} link set lo up`)
    const place = { namespace, run: ["ip", "netns", "exec", namespace] }
    if (isRouter) inside(place, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    return place
  }
  const inside = ({ run: [command, ...args] }: Place, ...rest: ReadonlyArray<string>) => run(command, ...args, ...rest)

  /** Links two places, with an address of 24 bits on either side; all other traffic of the second goes to the first. */
  const link = (
    a: Place,
    [aName, aHost]: readonly [string, string],
    b: Place,
    [bName, bHost]: readonly [string, string]
  ) => {
    // A name is unique in the namespace where a pair is created, and a link keeps it for a moment.
    const [first, second] = [`${prefix}a${++links}`, `${prefix}b${links}`]
    ip(`-n ${a.namespace} link add ${first} type veth peer name ${second} netns ${b.namespace}`)
    for (const [{ namespace }, from, name, host] of [[a, first, aName, aHost], [b, second, bName, bHost]] as const) {
      ip(`-n ${namespace} link set ${from} name ${name}`)
      ip(`-n ${namespace} addr add ${host}/24 dev ${name}`)
      ip(`-n ${namespace} link set ${name} up`)
    }
    ip(`-n ${b.namespace} route add default via ${aHost}`)
  }

  const core = add("core", true)
  const attach = (place: Place, network: number): string => {
    const host = `11.0.${network}.2`
    link(core, [`net${network}`, `11.0.${network}.1`], place, ["wan", host])
    return host
  }

  const route = (place: Place, name: string, network: number, mapping: Mapping): ClosedHost => {
    const router = add(`router${name}`, true)
    const host = attach(router, network)
    inside(router, "nft", rules(mapping))
    link(router, ["lan", "192.168.1.1"], place, ["eth", "192.168.1.2"])
    return {
      ...place,
      host,
      reboot: (network) =>
        Effect.sync(() => {
          // A namespace may keep its links for a moment.
          for (const name of ["wan", "lan"]) ip(`-n ${router.namespace} link del ${name}`)
          remove(router.namespace)
          return route(place, name, network, mapping)
        })
    }
  }

  return {
    open: (network) =>
      Effect.sync(() => {
        const place = add(`open${network}`, false)
        return { ...place, host: attach(place, network) }
      }),
    behind: (network, mapping) =>
      Effect.sync(() => route(add(`closed${network}`, false), `${network}`, network, mapping))
  }
})

/** Why no such internet can be built here; undefined if it can. */
export const missing = (): string | undefined => {
  const namespace = `dht${process.pid}-probe`
  try {
    ip(`netns add ${namespace}`)
  } catch (error) {
    return `no network namespace can be added: ${(error as Error).message.trim()}`
  }
  try {
    run("ip", "netns", "exec", namespace, "nft", rules("Random"))
    return undefined
  } catch (error) {
    return `nftables cannot translate addresses: ${(error as Error).message.trim()}`
  } finally {
    ip(`netns del ${namespace}`)
  }
}
