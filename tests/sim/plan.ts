/** What a run does, drawn from its seed: a cluster, its tasks, and what goes wrong when. */
import type { TaskSpec } from "@spear/shared/task.ts";
import { Random } from "./random.ts";

export interface Size {
  nodes: number;
  tasks: number;
  replicas: number;
  /** How long things go wrong, in milliseconds. */
  troubleMs: number;
  /** How many things go wrong. */
  troubles: number;
}

export const smallSize: Size = {
  nodes: 4,
  tasks: 24,
  replicas: 2,
  troubleMs: 20_000,
  troubles: 14,
};

/** Something that happens at a time; `which` picks among those that there are. */
export type Action = { atMs: number; which: number } & (
  | { kind: "submit"; spec: TaskSpec; key: string | undefined }
  // At a node, which accepts it by itself.
  | { kind: "submit_local"; spec: TaskSpec }
  | { kind: "cancel" }
  // Its disk goes with it: a new node takes its place.
  | { kind: "replace_node"; forMs: number }
  // When a node is next given up, while its tasks are being moved.
  | { kind: "crash_sms_at_loss"; afterMs: number; forMs: number }
  | { kind: "crash_sms" | "pause_sms" | "crash_node" | "pause_node"; forMs: number }
  | { kind: "cut_node" | "cut_link" | "drain_node" | "redis_away" | "lossy"; forMs: number }
  | { kind: "jump_clock"; byMs: number }
);

export interface Plan {
  seed: number;
  size: Size;
  policy: "binpack" | "spread";
  reserveAfterMs: number;
  /** Chance that a message between SMS and a node is dropped, and that it comes twice. */
  drop: number;
  twice: number;
  /** Chance that the store does not answer, and that an attempt ends by its node's fault. */
  storeAway: number;
  nodeFault: number;
  /** Tasks of higher priority take the room of others. */
  preemption: boolean;
  actions: Action[];
}

function specOf(random: Random, size: Size): TaskSpec {
  const spec: TaskSpec = {
    mock: { sleepMs: random.pick([0, 5, 50, 500, 3_000]) },
    resources: {
      cpu: random.pick([0, 0.5, 1, 2, 4]),
      memoryBytes: random.pick([0, 2 ** 20, 2 ** 28]),
      ...(random.chance(0.1) ? { extras: { gpu: 1 } } : {}),
    },
    retries: { max: random.between(0, 2), delayMs: random.pick([10, 1_000]), backoff: "fixed" },
  };
  if (random.chance(0.2)) spec.mock = { ...spec.mock, failAttempts: random.between(1, 3) };
  // What never ends by itself is cancelled later; see `Run`.
  if (random.chance(0.1)) spec.mock = { hang: true };
  if (random.chance(0.25)) spec.outputs = [{ path: "out", object: "results/out" }];
  if (random.chance(0.15)) spec.delayMs = random.between(1, 4_000);
  if (random.chance(0.2)) spec.priority = random.pick([0, 100]);
  // Every fourth node is in zone us, so that there is always one.
  if (random.chance(0.2)) spec.constraints = ["label.zone == us"];
  if (random.chance(0.1)) spec.affinities = [{ constraint: "label.zone == us", weight: 50 }];
  if (random.chance(0.1)) spec.antiAffinity = "job";
  if (random.chance(0.15)) spec.exclusive = true;
  if (size.tasks > 1_000 && spec.mock?.hang !== true)
    spec.mock = { ...spec.mock, sleepMs: random.between(100, 3_000) };
  return spec;
}

/** One task in so many is submitted at a node besides. */
const localsPart = 8;

function localSpecOf(random: Random): TaskSpec {
  return {
    mock: {
      sleepMs: random.pick([0, 50, 500, 3_000]),
      ...(random.chance(0.2) ? { failAttempts: 1 } : {}),
    },
    resources: { cpu: random.pick([0, 0.5, 1]), memoryBytes: 0 },
    retries: { max: random.between(0, 1), delayMs: 10, backoff: "fixed" },
    ...(random.chance(0.25) ? { outputs: [{ path: "out", object: "results/out" }] } : {}),
  };
}

function troubleOf(random: Random, { troubleMs }: Size): Action {
  const at = { atMs: random.between(0, troubleMs), which: random.between(0, 1_000_000) };
  const forMs = random.pick([50, 500, 2_000, 6_000]);
  const kind = random.pick([
    "crash_sms", "pause_sms", "crash_node", "crash_node", "pause_node", "cut_node", "cut_link",
    "drain_node", "replace_node", "crash_sms_at_loss", "redis_away", "lossy", "jump_clock", "cancel", "cancel",
  ] as const); // prettier-ignore
  if (kind === "cancel") return { ...at, kind };
  if (kind === "crash_sms_at_loss") return { ...at, kind, afterMs: random.between(0, 4), forMs };
  if (kind === "jump_clock") return { ...at, kind, byMs: random.between(-8_000, 8_000) };
  return { ...at, kind, forMs };
}

export function planOf(seed: number, size: Size): Plan {
  const random = new Random(seed);
  const submits = Array.from({ length: size.tasks }, (_, number): Action => {
    const spec = specOf(random, size);
    return {
      kind: "submit",
      atMs: random.between(0, size.troubleMs),
      which: random.between(0, 1_000_000),
      spec,
      // One that hangs has to be acknowledged, or nobody would end it.
      key: spec.mock?.hang === true || random.chance(0.7) ? `key-${number}` : undefined,
    };
  });
  const locals = Array.from({ length: Math.ceil(size.tasks / localsPart) }, (): Action => ({
    kind: "submit_local",
    atMs: random.between(0, size.troubleMs),
    which: random.between(0, 1_000_000),
    spec: localSpecOf(random),
  }));
  const troubles = Array.from({ length: size.troubles }, () => troubleOf(random, size));
  return {
    seed,
    size,
    policy: random.pick(["binpack", "spread"]),
    reserveAfterMs: random.pick([0, 2_000, 30_000]),
    drop: random.pick([0, 0.01, 0.1]),
    twice: random.pick([0, 0.05, 0.3]),
    storeAway: random.pick([0, 0.2, 0.95]),
    nodeFault: random.pick([0, 0.05]),
    preemption: random.chance(0.5),
    actions: [...submits, ...locals, ...troubles].toSorted((a, b) => a.atMs - b.atMs),
  };
}
