/**
 * From a job's spec to its tasks: replicas are counted out, references replaced, the
 * environment is told who it is. Pure. Outputs are named by the spec, so that a task
 * that takes another's is known whole when the job is submitted.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { JobId, NodeId } from "@spear/shared/ids.ts";
import {
  type JobSpec,
  type JobTaskSpec,
  maxJobTasks,
  type TaskTemplate,
} from "@spear/shared/job.ts";
import { mapStrings, substitute, unescaped } from "@spear/shared/references.ts";
import type { TaskSpec } from "@spear/shared/task.ts";

/** Most bytes that the specs of a job's tasks may have together. */
const maxPlannedBytes = 32 << 20;

/** A task of the spec with its replicas. */
export interface PlannedGroup {
  count: number;
  /** How many groups it waits for. */
  waits: number;
  /** Numbers of the groups that wait for it. */
  dependents: number[];
}

export interface PlannedTask {
  /** Number of its group. */
  group: number;
  index: number;
  spec: TaskSpec;
}

export interface Plan {
  groups: PlannedGroup[];
  /** Group by group. */
  tasks: PlannedTask[];
}

const outputReference = /^tasks\.([A-Za-z0-9][A-Za-z0-9_-]*)(?:\[(\d+|index)\])?\.outputs\.(.+)$/;

function bad(field: string, said: string, help?: string): Fault {
  return new Fault("invalid_argument", `${field}: ${said}`, {
    field,
    ...(help === undefined ? {} : { help }),
  });
}

/** `text` as the replica with that index has it. */
function indexed(text: string, index: number): string {
  return unescaped(
    substitute(text, (reference) => (reference === "index" ? String(index) : undefined)),
  );
}

/** Names of all tasks that one depends on, directly or not. */
function upstreamOf(spec: JobSpec, name: string): Set<string> {
  const found = new Set<string>();
  const open = [...(spec.tasks[name]?.dependsOn ?? [])];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    open.push(...(spec.tasks[next]?.dependsOn ?? []));
  }
  return found;
}

/** What a plan is made with. */
export interface PlanDeps {
  /** Checks a task's spec, naming fields below its second argument. */
  check(value: unknown, root: string): TaskSpec;
  /** The nodes that suit a system task now, in a lasting order. */
  nodesFor(spec: TaskSpec): NodeId[];
  /** Picks the tasks, all by default: a group without any is as if it were done. */
  wanted?(group: number, index: number, node: NodeId | undefined): boolean;
}

/** The copies of each task of the spec: their nodes, undefined for any. */
type Copies = ReadonlyMap<string, readonly (NodeId | undefined)[]>;

/** Replaces the references of one task of the spec. */
class Template {
  readonly #spec: JobSpec;
  readonly #name: string;
  readonly #task: TaskTemplate;
  readonly #root: string;
  readonly #copies: Copies;
  readonly #plain: boolean;
  #upstream: Set<string> | undefined;

  constructor(spec: JobSpec, name: string, { task }: JobTaskSpec, root: string, copies: Copies) {
    this.#spec = spec;
    this.#copies = copies;
    this.#name = name;
    this.#task = task;
    this.#root = root;
    this.#plain = !JSON.stringify(task).includes("${");
  }

  /** The spec of one replica, still unchecked. */
  replica(index: number): TaskTemplate {
    if (this.#plain) return this.#task;
    const inputs = this.#task.inputs?.flatMap((input, at) =>
      this.#inputs(input, `${this.#root}.inputs.${at}`, index),
    );
    const all = inputs === undefined ? this.#task : { ...this.#task, inputs };
    return mapStrings(
      all,
      (text, path) => {
        const replaced = substitute(text, (reference) => {
          if (reference === "index") return String(index);
          if (!reference.startsWith("tasks.")) return undefined;
          return this.#objects(reference, path, index).join(" ");
        });
        return unescaped(replaced);
      },
      this.#root,
    ) as TaskTemplate;
  }

  /** An input, or one for each replica whose output it refers to. */
  #inputs(input: { object: string; path: string }, field: string, index: number) {
    const reference = /^\$\{(tasks\.[^{}]*)\}$/.exec(input.object)?.[1];
    if (reference === undefined) return [input];
    const objects = this.#objects(reference, `${field}.object`, index);
    if (objects.length > 1 && !input.path.includes("${replica}")) {
      throw bad(
        `${field}.path`,
        `has no \${replica}, and ${objects.length} objects would go there`,
        "as part-${replica}.json, or take one with tasks.NAME[0]",
      );
    }
    return objects.map((object, replica) => ({
      object,
      path: substitute(input.path, (name) => (name === "replica" ? String(replica) : undefined)),
    }));
  }

  /** Names of the objects that `tasks.NAME.outputs.PATH` stands for, one for each replica. */
  #objects(reference: string, field: string, index: number): string[] {
    const [, name = "", which, path = ""] = outputReference.exec(reference) ?? [];
    const help = "as ${tasks.count.outputs.out.json} or ${tasks.count[0].outputs.out.json}";
    if (name === "") throw bad(field, `\${${reference}} is no reference to an output`, help);
    this.#upstream ??= upstreamOf(this.#spec, this.#name);
    if (!this.#upstream.has(name)) {
      throw bad(
        field,
        `"${name}" is not among what ${this.#name} depends on`,
        "add it to dependsOn",
      );
    }
    const { task } = this.#spec.tasks[name] as JobTaskSpec;
    const replicas = this.#copies.get(name)?.length ?? 1;
    const one = which === undefined ? undefined : which === "index" ? index : Number(which);
    if (one !== undefined && one >= replicas) {
      throw bad(field, `"${name}" has ${replicas} replicas, there is no ${one}`);
    }
    const indexes = one === undefined ? Array.from({ length: replicas }, (_, i) => i) : [one];
    return indexes.map((i) => {
      const output = task.outputs?.find((known) => indexed(known.path, i) === path);
      if (output !== undefined) return indexed(output.object, i);
      const known = (task.outputs ?? []).map((output) => indexed(output.path, i)).join(", ");
      throw bad(field, `"${name}" has no output ${path}`, known === "" ? "" : `it has ${known}`);
    });
  }
}

/** Counts the copies of each task out. Throws `conflict` where no node suits a system task. */
function copiesOf(spec: JobSpec, { check, nodesFor }: PlanDeps): Copies {
  const copies = new Map<string, (NodeId | undefined)[]>();
  let total = 0;
  for (const [name, { task, replicas = 1, system = false }] of Object.entries(spec.tasks)) {
    const root = `spec.tasks.${name}.task`;
    const { inputs: _, ...needs } = task;
    const nodes: (NodeId | undefined)[] = system
      ? nodesFor(check(needs, root))
      : Array.from({ length: replicas }, () => undefined);
    if (nodes.length === 0) {
      throw new Fault("conflict", `${root}: no node suits it now`, { field: root });
    }
    copies.set(name, nodes);
    total += nodes.length;
  }
  if (total <= maxJobTasks) return copies;
  throw bad("spec.tasks", `${total} tasks; at most ${maxJobTasks} are accepted`);
}

/**
 * All tasks of a job. Throws `invalid_argument`, `conflict` where no node suits a system
 * task, or `payload_too_large` where references grow without end.
 */
export function planJob(spec: JobSpec, jobId: JobId, deps: PlanDeps): Plan {
  const { check, wanted = () => true } = deps;
  const copies = copiesOf(spec, deps);
  const names = Object.keys(spec.tasks);
  const numbers = new Map(names.map((name, group) => [name, group]));
  const tasks: PlannedTask[] = [];
  const groups: PlannedGroup[] = [];
  let bytes = 0;
  for (const [group, [name, one]] of Object.entries(spec.tasks).entries()) {
    const root = `spec.tasks.${name}.task`;
    const template = new Template(spec, name, one, root, copies);
    const before = tasks.length;
    const nodes = copies.get(name) ?? [];
    for (const [index, nodeId] of nodes.entries()) {
      if (!wanted(group, index, nodeId)) continue;
      const task = template.replica(index);
      const labels = { ...spec.labels, ...task.labels };
      const checked = check(
        {
          ...task,
          name: `${task.name ?? name}${nodes.length === 1 ? "" : `-${index}`}`,
          env: {
            ...task.env,
            SPEAR_JOB_ID: jobId,
            SPEAR_TASK_NAME: name,
            SPEAR_TASK_INDEX: String(index),
          },
          ...(Object.keys(labels).length === 0 ? {} : { labels }),
          ...(nodeId === undefined ? {} : { nodeId }),
        },
        root,
      );
      bytes += JSON.stringify(checked).length;
      if (bytes > maxPlannedBytes) {
        throw new Fault("payload_too_large", `the job's tasks have over ${maxPlannedBytes} bytes`, {
          field: root,
          help: "give fewer inputs to each, or fewer replicas",
        });
      }
      tasks.push({ group, index, spec: checked });
    }
    groups.push({ count: tasks.length - before, waits: 0, dependents: [] });
  }
  for (const [group, { dependsOn = [] }] of Object.values(spec.tasks).entries()) {
    for (const name of dependsOn) {
      const on = groups[numbers.get(name) ?? -1];
      if (on === undefined || on.count === 0) continue;
      on.dependents.push(group);
      (groups[group] as PlannedGroup).waits += 1;
    }
  }
  return { groups, tasks };
}
