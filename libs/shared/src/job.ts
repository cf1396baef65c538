/**
 * The nouns of a job as schemas: what a user asks for (`JobSpec`) and what it
 * stands as (`Job`). They mirror `spear/sms/v1/job.proto`. A spec is in canonical
 * units; job files, with theirs, are turned into one by job-file.ts.
 */
import { Type, type Static } from "@sinclair/typebox";
import { check } from "./check.ts";
import { Fault } from "./fault.ts";
import { closed, Failure, labelMap, ms, oneOf, relativePath, TaskSpec, words } from "./task.ts";

/** Most tasks of one job, replicas counted. */
export const maxJobTasks = 10_000;

export const jobStates = ["pending", "running", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof jobStates)[number];
export const JobStateSchema = oneOf(jobStates, "State of a job.");

/** True if nothing can follow. */
export function isEnded(state: JobState): boolean {
  return state !== "pending" && state !== "running";
}

const nameRule = "must be 1–63 letters, digits, '_' and '-', and start with a letter or digit";
const taskName = words(
  "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$",
  nameRule,
  63,
  "Name of a task of the job.",
);

/** A task's spec in which the objects of inputs may still be references to outputs. */
export const TaskTemplate = Type.Object(
  {
    ...TaskSpec.properties,
    inputs: Type.Optional(
      Type.Array(
        Type.Object(
          {
            object: Type.String({
              minLength: 1,
              maxLength: 1100,
              description: "bucket/key of an object, or ${tasks.NAME.outputs.PATH}.",
            }),
            path: relativePath,
          },
          closed,
        ),
        { maxItems: 1024, description: "Objects put into the work directory first." },
      ),
    ),
  },
  {
    ...closed,
    description:
      "What to run. ${index}, ${param.NAME} and ${tasks.NAME.outputs.PATH} are substituted; $${ stands for ${.",
  },
);
export type TaskTemplate = Static<typeof TaskTemplate>;

export const JobTaskSpec = Type.Object(
  {
    task: TaskTemplate,
    replicas: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: maxJobTasks,
        description: "How many copies, with SPEAR_TASK_INDEX from 0. Default 1.",
      }),
    ),
    dependsOn: Type.Optional(
      Type.Array(taskName, {
        maxItems: 1_000,
        uniqueItems: true,
        description: "Names of tasks that must have succeeded.",
      }),
    ),
    system: Type.Optional(
      Type.Boolean({
        description:
          "One copy on every node that suits when the job is submitted, instead of replicas.",
      }),
    ),
  },
  { ...closed, description: "A task of a job, or an array of them." },
);
export type JobTaskSpec = Static<typeof JobTaskSpec>;

/** What a user submits: one or more tasks with dependencies. */
export const JobSpec = Type.Object(
  {
    name: Type.Optional(TaskSpec.properties.name),
    tasks: Type.Record(Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$" }), JobTaskSpec, {
      ...closed,
      minProperties: 1,
      maxProperties: maxJobTasks,
      description: "Tasks by name.",
    }),
    onFailure: Type.Optional(
      oneOf(
        ["stop", "continue"],
        "What a task that fails for good does to the others: ends them, or only those that depend on it. Default stop.",
      ),
    ),
    parallelism: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: maxJobTasks,
        description: "Most tasks of the job at once; 0: no limit.",
      }),
    ),
    deadlineMs: Type.Optional(ms("Longest time for the whole job from its submit; 0: no limit")),
    params: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_-]{0,62}$" }),
        Type.String({ maxLength: 64 * 1024 }),
        { ...closed, maxProperties: 256, description: "Parameters and their values." },
      ),
    ),
    labels: Type.Optional(labelMap("Free labels; every task has them too.")),
    retentionMs: Type.Optional(
      ms("How long the job and its tasks are kept after the end; default 7 days"),
    ),
    delayMs: Type.Optional(ms("Do not start before this long after the submit")),
  },
  { ...closed, $id: "JobSpec", description: "What to run: tasks with dependencies." },
);
export type JobSpec = Static<typeof JobSpec>;

export const defaultRetentionMs = 7 * 86_400_000;

/** A job as it stands. */
export const Job = Type.Object(
  {
    id: Type.String({ description: "job_…" }),
    name: Type.String(),
    spec: Type.Optional(
      Type.Ref(JobSpec, { description: "What was asked for; left out of lists." }),
    ),
    state: JobStateSchema,
    counts: Type.Record(Type.String(), Type.Integer(), {
      description: "Number of its tasks by state; states without any are left out.",
    }),
    total: Type.Integer({ description: "Number of its tasks." }),
    labels: Type.Record(Type.String(), Type.String()),
    seq: Type.Integer({ description: "Sequence number of its last job.state event." }),
    createdAtMs: Type.Integer(),
    startedAtMs: Type.Optional(Type.Integer()),
    finishedAtMs: Type.Optional(Type.Integer()),
    failure: Type.Optional(Failure),
    cancelRequested: Type.Boolean(),
    paused: Type.Boolean({ description: "Nothing new of it starts until it is resumed." }),
    rerunOf: Type.Optional(Type.String({ description: "job_… that it repeats." })),
  },
  { $id: "Job", description: "A job as it stands." },
);
export type Job = Omit<Static<typeof Job>, "spec"> & { spec?: JobSpec };

/** `invalid_argument` at a field. */
function bad(field: string, said: string, help?: string): Fault {
  return new Fault("invalid_argument", `${field}: ${said}`, {
    field,
    ...(help === undefined ? {} : { help }),
  });
}

/** Number of tasks that a spec asks for. */
export function taskCount(spec: JobSpec): number {
  return Object.values(spec.tasks).reduce((sum, { replicas = 1 }) => sum + replicas, 0);
}

/**
 * Checks a spec from outside: shape, bounds, dependencies that exist and have no
 * cycle. Throws `invalid_argument` with the field's path below `root`.
 */
export function checkJobSpec(value: unknown, root = "spec"): JobSpec {
  const spec = check(JobSpec, value, root);
  const at = root === "" ? "tasks" : `${root}.tasks`;
  const count = taskCount(spec);
  if (count > maxJobTasks) throw bad(at, `${count} tasks; at most ${maxJobTasks} are accepted`);
  for (const [name, { dependsOn = [], replicas, system }] of Object.entries(spec.tasks)) {
    if (system === true && replicas !== undefined) {
      throw bad(`${at}.${name}.replicas`, "a system task has one copy on every node that suits");
    }
    for (const [index, on] of dependsOn.entries()) {
      if (Object.hasOwn(spec.tasks, on)) continue;
      const known = Object.keys(spec.tasks).slice(0, 20).join(", ");
      throw bad(`${at}.${name}.dependsOn.${index}`, `there is no task "${on}"`, `known: ${known}`);
    }
  }
  const cycle = cycleOf(spec);
  if (cycle !== undefined) {
    const [first = ""] = cycle;
    throw bad(
      `${at}.${first}.dependsOn`,
      `the tasks wait for each other: ${[...cycle, first].join(" → ")}`,
      "an arrow reads as: depends on",
    );
  }
  return spec;
}

/** Tasks that depend on each other in a circle, in order; undefined if there are none. */
function cycleOf(spec: JobSpec): string[] | undefined {
  const waitsFor = new Map(
    Object.entries(spec.tasks).map(([name, { dependsOn = [] }]) => [name, new Set(dependsOn)]),
  );
  const dependents = new Map<string, string[]>();
  for (const [name, on] of waitsFor) {
    for (const one of on) dependents.set(one, [...(dependents.get(one) ?? []), name]);
  }
  const free = [...waitsFor].filter(([, on]) => on.size === 0).map(([name]) => name);
  for (let name = free.pop(); name !== undefined; name = free.pop()) {
    waitsFor.delete(name);
    for (const dependent of dependents.get(name) ?? []) {
      const on = waitsFor.get(dependent);
      on?.delete(name);
      if (on?.size === 0) free.push(dependent);
    }
  }
  // Whoever is left waits for somebody that is left: walking on leads into a circle.
  const path: string[] = [];
  let [next] = waitsFor.keys();
  while (next !== undefined && !path.includes(next)) {
    path.push(next);
    [next] = waitsFor.get(next) ?? [];
  }
  return next === undefined ? undefined : path.slice(path.indexOf(next));
}
