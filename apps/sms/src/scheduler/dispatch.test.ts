/** Deliveries as they lie in a node's queue. */
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { type Delivery, nodeQueueName } from "@spear/shared/queue.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { Queue } from "bullmq";
import { afterAll, expect, test } from "bun:test";
import { Dispatcher } from "./dispatch.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "blocking", silentLog);
const { queuePrefix } = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
const dispatcher = new Dispatcher(redis, queuePrefix, silentLog);
afterAll(async () => {
  await dispatcher[Symbol.asyncDispose]();
  redis.disconnect();
});

const attempt = (spec: TaskSpec = { name: "one", mock: {} }) => ({
  taskId: systemIds.next("task"),
  attempt: 1,
  spec,
});

async function delivered(
  node: ReturnType<typeof newNode>,
): Promise<{ name: string; data: Delivery }[]> {
  await dispatcher.settled();
  const queue = new Queue<Delivery>(nodeQueueName(node), {
    connection: redis,
    prefix: queuePrefix,
  });
  const jobs = await queue.getWaiting();
  await queue.close();
  return jobs.map(({ name, data }) => ({ name, data }));
}
const newNode = () => systemIds.next("node");

test("attempts of one turn travel together, those of other nodes apart", async () => {
  const [node, other] = [newNode(), newNode()];
  const [a, b, c] = [attempt(), attempt(), attempt()];
  dispatcher.send(node, a);
  dispatcher.send(other, b);
  dispatcher.send(node, c);
  expect(await delivered(node)).toEqual([{ name: "one and 1 more", data: { attempts: [a, c] } }]);
  expect(await delivered(other)).toEqual([{ name: "one", data: { attempts: [b] } }]);
});

test("no delivery is larger than the bounds, but one attempt always fits", async () => {
  const node = newNode();
  const large = { name: "large", mock: { print: "x".repeat(700_000) } };
  const sent = [attempt(large), attempt(large), ...Array.from({ length: 300 }, () => attempt())];
  for (const one of sent) dispatcher.send(node, one);
  const sizes = (await delivered(node)).map(({ data }) => data.attempts.length);
  expect(sizes.toSorted((x, y) => x - y)).toEqual([1, 51, 250]);
});

test("an attempt that is sent again is there once, however often, and rides alone", async () => {
  const node = newNode();
  const [a, b] = [attempt(), attempt()];
  dispatcher.send(node, a);
  await dispatcher.settled();
  for (let round = 0; round < 3; round++) {
    dispatcher.sendAgain(node, a);
    dispatcher.sendAgain(node, b);
    await dispatcher.settled();
  }
  const found = (await delivered(node)).map(({ data }) => data.attempts);
  expect(found).toHaveLength(2);
  expect(found).toContainEqual([a]);
  expect(found).toContainEqual([b]);
});
