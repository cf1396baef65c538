/** Inputs that a node has already: fetched once, told to SMS, and a reason to be placed there. */
import type { Explanation } from "@spear/shared/explanation.ts";
import type { Node } from "@spear/shared/node.ts";
import type { Task } from "@spear/shared/task.ts";
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Cluster, until } from "../programs.ts";

test("a task goes where its input is, and the node fetches it no second time", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    store: true,
    // Without locality, the node that has nothing to do would be taken.
    sms: { placement: "spread" },
    spearlet: { runtimes: "process", slots: 16 },
  });
  const store = `http://${cluster.store?.http}`;
  await fetch(`${store}/v1/buckets/corpus`, { method: "PUT" });
  const bytes = Buffer.alloc(3 << 20, "words ");
  await fetch(`${store}/v1/buckets/corpus/objects/text`, { method: "PUT", body: bytes });
  const nodes = async () => (await cluster.api<{ nodes: Node[] }>("GET", "/v1/nodes")).nodes;
  const spec = (script: string) => ({
    process: { command: ["sh", "-c", script] },
    inputs: [{ object: "corpus/text", path: "in.txt" }],
  });
  const submit = (task: object) => cluster.api<Task>("POST", "/v1/tasks", { spec: task });
  const get = (id: string) => cluster.api<Task>("GET", `/v1/tasks/${id}`);

  const [, second] = (await nodes()).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const warm = second?.id ?? "";
  const first = await submit({ ...spec("exec sleep 60"), nodeId: warm });
  await until("SMS to see that the node has the input", async () => {
    const why = await cluster.api<Explanation>("GET", `/v1/tasks/${first.id}/why`);
    return why.nodes.some(({ nodeId, score }) => nodeId === warm && (score["locality"] ?? 0) > 0);
  });

  // One spoils its copy: the next must not see it.
  for (let round = 0; round < 2; round += 1) {
    const { id } = await submit(spec("wc -c <in.txt; echo spoiled >in.txt"));
    const task = await until(`${id} to end`, async () => {
      const now = await get(id);
      return now.finishedAtMs !== undefined && now;
    });
    expect(task).toMatchObject({ state: "succeeded", nodeId: warm });
    const logs = await fetch(`http://${cluster.sms.http}/v1/tasks/${id}/logs?stream=stdout`, {
      headers: { accept: "application/octet-stream" },
    });
    expect(await logs.text()).toBe(`${bytes.length}\n`);
  }
  const files = [1, 2].map(
    (index) => readdirSync(join(cluster.directory, `node-${index}/objects`)).length,
  );
  expect(files.toSorted()).toEqual([0, 1]);
});
