import { afterAll, beforeAll, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { Keys, keysLua } from "./keys.ts";
import { Script } from "./script.ts";

let redis: Redis;
beforeAll(() => {
  redis = new Redis(process.env["SPEAR_TEST_REDIS"] ?? "redis://127.0.0.1:6379");
});
afterAll(() => redis.disconnect());

const id = "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A";

test("a namespace's keys share one hash tag", () => {
  const keys = new Keys("other");
  for (const key of [keys.seq, keys.events, keys.task(id), keys.store("b"), keys.queuePrefix]) {
    expect(key.startsWith("{other}:")).toBe(true);
  }
  expect(new Keys().task(id)).not.toBe(keys.task(id));
});

test("Lua spells the same keys", async () => {
  const keys = new Keys(crypto.randomUUID());
  const names = {
    SEQ: keys.seq,
    EVENTS: keys.events,
    TASKS: keys.tasks,
    DELAYED: keys.delayed,
    TASK_COUNTS: keys.taskCounts,
    PENDING_CLASSES: keys.pendingClasses,
    TASKS_EXPIRING: keys.tasksExpiring,
    DEAD_LETTERS: keys.deadLetters,
    NODES: keys.nodes,
    LEASES: keys.leases,
    "task_key('x')": keys.task("x"),
    "tasks_in_key('pending')": keys.tasksIn("pending"),
    "pending_class_key('c')": keys.pendingClass("c"),
    "node_key('n')": keys.node("n"),
    "node_tasks_key('n')": keys.nodeTasks("n"),
    "node_usage_key('n')": keys.nodeUsage("n"),
    "lease_key('n')": keys.nodeLease("n"),
  };
  const lua = `${keysLua}return {${Object.keys(names).join()}}`;
  const script = new Script<string[]>("test_keys", 1, lua);
  expect(await script.run(redis, [keys.seq], [])).toEqual(Object.values(names));
});
