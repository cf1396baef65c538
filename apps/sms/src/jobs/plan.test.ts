import { describe, expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { checkJobSpec } from "@spear/shared/job.ts";
import { checkTaskSpec, type TaskSpec } from "@spear/shared/task.ts";
import { planJob } from "./plan.ts";

const id = systemIds.next("job");
const nodes = [systemIds.next("node"), systemIds.next("node")];
const deps = {
  check: checkTaskSpec,
  nodesFor: (spec: TaskSpec) => (spec.constraints === undefined ? nodes : []),
};
const plan = (tasks: object, more: object = {}) =>
  planJob(checkJobSpec({ ...more, tasks }), id, deps);

function faultOf(tasks: object): string {
  try {
    plan(tasks);
  } catch (error) {
    if (error instanceof Fault) return error.message;
  }
  throw new Error("it was accepted");
}

const count = {
  replicas: 3,
  task: { mock: {}, outputs: [{ path: "out.json", object: "results/part-${index}.json" }] },
};
const merging = (task: object) => ({ count, merge: { dependsOn: ["count"], task } });

describe("a plan", () => {
  test("counts replicas out, with an index, a name and an environment each", () => {
    const { tasks, groups } = plan(
      {
        a: {
          replicas: 2,
          task: { process: { command: ["echo", "${index} of $${index} ${HOME}"] } },
        },
        b: { dependsOn: ["a"], task: { name: "other", mock: {}, env: { X: "1" } } },
      },
      { labels: { team: "x", zone: "eu" } },
    );
    expect(groups).toEqual([
      { count: 2, waits: 0, dependents: [1] },
      { count: 1, waits: 1, dependents: [] },
    ]);
    expect(tasks.map(({ spec }) => [spec.name, spec.process?.command[1], spec.env])).toEqual([
      [
        "a-0",
        "0 of ${index} ${HOME}",
        { SPEAR_JOB_ID: id, SPEAR_TASK_NAME: "a", SPEAR_TASK_INDEX: "0" },
      ],
      [
        "a-1",
        "1 of ${index} ${HOME}",
        { SPEAR_JOB_ID: id, SPEAR_TASK_NAME: "a", SPEAR_TASK_INDEX: "1" },
      ],
      [
        "other",
        undefined,
        { X: "1", SPEAR_JOB_ID: id, SPEAR_TASK_NAME: "b", SPEAR_TASK_INDEX: "0" },
      ],
    ]);
    expect(tasks[0]?.spec.labels).toEqual({ team: "x", zone: "eu" });
  });

  test("of the tasks that are wanted treats the others as done", () => {
    const spec = checkJobSpec({
      tasks: {
        a: { task: { mock: {} } },
        b: { replicas: 3, task: { mock: {} }, dependsOn: ["a"] },
        c: { task: { mock: {} }, dependsOn: ["a", "b"] },
      },
    });
    const { groups, tasks } = planJob(spec, id, {
      ...deps,
      wanted: (group, index) => group > 0 && index !== 1,
    });
    expect(tasks.map(({ spec }) => spec.name)).toEqual(["b-0", "b-2", "c"]);
    expect(groups).toEqual([
      { count: 0, waits: 0, dependents: [] },
      { count: 2, waits: 0, dependents: [2] },
      { count: 1, waits: 1, dependents: [] },
    ]);
  });
});

describe("a system task", () => {
  test("has one copy on each node that suits, and so have references to it", () => {
    const task = { mock: {}, outputs: [{ path: "o", object: "facts/${index}" }] };
    const { tasks } = plan({
      each: { system: true, task },
      sum: {
        dependsOn: ["each"],
        task: { mock: {}, inputs: [{ object: "${tasks.each.outputs.o}", path: "${replica}" }] },
      },
    });
    expect(tasks.map(({ spec }) => spec.nodeId)).toEqual([...nodes, undefined]);
    expect(tasks[2]?.spec.inputs?.map(({ object }) => object)).toEqual(["facts/0", "facts/1"]);
  });

  test("that no node suits is refused", () => {
    const task = { mock: {}, constraints: ["label.x == y"] };
    expect(faultOf({ each: { system: true, task } })).toBe(
      "spec.tasks.each.task: no node suits it now",
    );
    expect(faultOf({ each: { system: true, replicas: 2, task: { mock: {} } } })).toStartWith(
      "spec.tasks.each.replicas: ",
    );
  });
});

describe("a reference to outputs", () => {
  test("as an input stands for one input for each replica", () => {
    const { tasks } = plan(
      merging({
        mock: {},
        inputs: [{ object: "${tasks.count.outputs.out.json}", path: "in/${replica}.json" }],
      }),
    );
    expect(tasks[3]?.spec.inputs).toEqual([
      { object: "results/part-0.json", path: "in/0.json" },
      { object: "results/part-1.json", path: "in/1.json" },
      { object: "results/part-2.json", path: "in/2.json" },
    ]);
  });

  test("may be of one replica, and stands for the names in other texts", () => {
    const { tasks } = plan({
      count,
      each: {
        replicas: 2,
        dependsOn: ["count"],
        task: {
          mock: {},
          inputs: [{ object: "${tasks.count[index].outputs.out.json}", path: "in.json" }],
          env: {
            ONE: "${tasks.count[2].outputs.out.json}",
            ALL: "all: ${tasks.count.outputs.out.json}",
          },
        },
      },
    });
    expect(tasks[4]?.spec.inputs).toEqual([{ object: "results/part-1.json", path: "in.json" }]);
    expect(tasks[4]?.spec.env).toMatchObject({
      ONE: "results/part-2.json",
      ALL: "all: results/part-0.json results/part-1.json results/part-2.json",
    });
  });

  test("reaches what is upstream, however far", () => {
    const { tasks } = plan({
      count,
      middle: { dependsOn: ["count"], task: { mock: {} } },
      last: {
        dependsOn: ["middle"],
        task: { mock: { print: "${tasks.count[0].outputs.out.json}" } },
      },
    });
    expect(tasks.at(-1)?.spec.mock?.print).toBe("results/part-0.json");
  });

  const input = (object: string, path = "${replica}") =>
    merging({ mock: {}, inputs: [{ object, path }] });
  test.each([
    [input("${tasks.count.outputs.out.json}", "in.json"), "inputs.0.path: has no ${replica}"],
    [input("${tasks.count.outputs.other}"), 'inputs.0.object: "count" has no output other'],
    [input("${tasks.count[3].outputs.out.json}"), 'inputs.0.object: "count" has 3 replicas'],
    [input("${tasks.count.result}"), "inputs.0.object: ${tasks.count.result} is no reference"],
    [input("${tasks.nobody.outputs.x}"), 'inputs.0.object: "nobody" is not among'],
    [input("no-slash"), "inputs.0.object: must be bucket/key"],
    [merging({ mock: { print: "${tasks.merge.outputs.x}" } }), 'mock.print: "merge" is not among'],
  ])("%o is refused: %s", (tasks, said) => {
    expect(faultOf(tasks)).toStartWith(`spec.tasks.merge.task.${said}`);
  });

  test("can't make a job of any size", () => {
    const task = { mock: {}, outputs: [{ path: "o", object: `results/${"x".repeat(900)}` }] };
    const inputs = [{ object: "${tasks.a.outputs.o}", path: "${replica}" }];
    const grown = {
      a: { replicas: 1_000, task },
      b: { replicas: 9_000, dependsOn: ["a"], task: { mock: {}, inputs } },
    };
    expect(faultOf(grown)).toStartWith("the job's tasks have over");
  });
});
