/** SMS over gRPC. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json } from "../world.ts";
import { jobsGrpc } from "./jobs.ts";
import { schedulesGrpc } from "./schedules.ts";
import { first, output } from "./messages.ts";

export const smsGrpc: Cases = {
  ...jobsGrpc,
  ...schedulesGrpc,
  "NodeService/Register": async ({ world }) => {
    expect(await world.paperNode()).toStartWith("node_");
  },
  "NodeService/Deregister": async ({ world }) => {
    const nodeId = await world.paperNode();
    await world.unary("sms", "NodeService/Deregister", { nodeId });
    const { nodes } = await world.unary("sms", "NodeService/ListNodes", {
      state: "NODE_STATE_READY",
    });
    expect((nodes as Json[]).map(({ id }) => id)).not.toContain(nodeId);
  },
  "NodeService/Session": async ({ world }) => {
    const nodeId = await world.paperNode();
    const session = world.converse("sms", "NodeService/Session");
    session.on("error", () => undefined);
    session.write({ hello: { nodeId, incarnation: "first" } });
    const { value } = (await session[Symbol.asyncIterator]().next()) as { value: Json };
    expect(value).toHaveProperty("welcome.leaseMs");
    session.end();
  },
  "NodeService/UpdateStatus": async ({ world }) => {
    const nodeId = await world.paperNode();
    const { leaseMs } = await world.unary("sms", "NodeService/UpdateStatus", {
      nodeId,
      incarnation: "first",
      usage: { cpu: 0.5 },
    });
    expect(Number(leaseMs)).toBeGreaterThan(0);
  },
  "NodeService/ListNodes": async ({ world, node }) => {
    const { nodes } = await world.unary("sms", "NodeService/ListNodes", {});
    expect((nodes as Json[]).map(({ id }) => id)).toContain(node);
  },
  "NodeService/GetNode": async ({ world, node }) => {
    const found = await world.unary("sms", "NodeService/GetNode", { nodeId: node });
    expect(found).toMatchObject({ id: node, state: "NODE_STATE_READY", name: "node-1" });
  },
  "NodeService/DrainNode": async ({ world }) => {
    const nodeId = await world.paperNode();
    const drain = (undo: boolean) => world.unary("sms", "NodeService/DrainNode", { nodeId, undo });
    expect(await drain(false)).toMatchObject({ state: "NODE_STATE_DRAINING" });
    expect(await drain(true)).toMatchObject({ state: "NODE_STATE_READY" });
    const request = { nodeId, deadlineMs: "60000" };
    const { drainUntilMs } = await world.unary("sms", "NodeService/DrainNode", request);
    expect(Number(drainUntilMs)).toBeGreaterThan(Date.now());
  },
  "NodeService/CordonNode": async ({ world }) => {
    const nodeId = await world.paperNode();
    const cordon = (undo: boolean) =>
      world.unary("sms", "NodeService/CordonNode", { nodeId, undo });
    expect(await cordon(false)).toMatchObject({ id: nodeId, cordoned: true });
    expect(await cordon(true)).not.toHaveProperty("cordoned");
  },
  "NodeService/LabelNode": async ({ world }) => {
    const nodeId = await world.paperNode();
    const set = { zone: "eu" };
    const labelled = await world.unary("sms", "NodeService/LabelNode", { nodeId, set });
    expect(labelled).toMatchObject({ id: nodeId, labels: set });
    const request = { nodeId, remove: ["zone"] };
    expect(await world.unary("sms", "NodeService/LabelNode", request)).not.toHaveProperty("labels");
  },
  "NodeService/CreateJoinToken": async ({ world }) => {
    const request = { name: "rack 2", ttlMs: "60000" };
    const { secret, joinToken } = await world.unary("sms", "NodeService/CreateJoinToken", request);
    expect(secret).toStartWith(`spear-join-${(joinToken as Json)["id"] as string}.`);
  },
  "NodeService/ListJoinTokens": async ({ world }) => {
    const { joinToken } = await world.unary("sms", "NodeService/CreateJoinToken", {});
    const { joinTokens } = await world.unary("sms", "NodeService/ListJoinTokens", {});
    expect(joinTokens).toContainEqual(joinToken);
  },
  "NodeService/RevokeJoinToken": async ({ world }) => {
    const made = await world.unary("sms", "NodeService/CreateJoinToken", {});
    const { id } = made["joinToken"] as Json;
    await world.unary("sms", "NodeService/RevokeJoinToken", { id });
    const { joinTokens } = await world.unary("sms", "NodeService/ListJoinTokens", {});
    expect(JSON.stringify(joinTokens ?? [])).not.toContain(id as string);
  },
  "NodeService/GetNodeUsage": async ({ world, node }) => {
    const request = { nodeId: node };
    const { samples } = await world.unary("sms", "NodeService/GetNodeUsage", request);
    expect(Number((samples as Json[])[0]?.["atMs"])).toBeGreaterThan(0);
  },
  "TaskService/SubmitTask": async ({ world }) => {
    const request = { spec: { mock: { print: "hi" } }, idempotencyKey: crypto.randomUUID() };
    const task = await world.unary("sms", "TaskService/SubmitTask", request);
    expect(task).toMatchObject({ spec: request.spec, runtime: "mock" });
    const again = await world.unary("sms", "TaskService/SubmitTask", request);
    expect(again["id"]).toBe(task["id"]);
  },
  "TaskService/SubmitTasks": async ({ world }) => {
    const specs = [{ mock: {} }, { mock: { print: "x" } }];
    const { taskIds } = await world.unary("sms", "TaskService/SubmitTasks", { specs });
    expect(taskIds).toHaveLength(2);
    for (const id of taskIds as string[]) await world.reaches(id, "succeeded");
  },
  "TaskService/GetTask": async ({ world, finished, node }) => {
    const task = await world.unary("sms", "TaskService/GetTask", { taskId: finished });
    expect(task).toMatchObject({
      id: finished,
      state: "TASK_STATE_SUCCEEDED",
      exitCode: 0,
      nodeId: node,
    });
  },
  "TaskService/ListTasks": async ({ world, running }) => {
    const { tasks } = await world.unary("sms", "TaskService/ListTasks", {
      states: ["TASK_STATE_RUNNING"],
      runtime: "mock",
    });
    expect((tasks as Json[]).map(({ id }) => id)).toContain(running);
  },
  "TaskService/CancelTask": async ({ world }) => {
    const taskId = await world.submit({ mock: { hang: true } });
    await world.reaches(taskId, "running");
    await world.unary("sms", "TaskService/CancelTask", { taskId });
    await world.reaches(taskId, "cancelled");
  },
  "TaskService/WatchTasks": async ({ world, finished }) => {
    const request = { taskId: finished, afterSeq: "0" };
    const event = await first(world.stream("sms", "TaskService/WatchTasks", request));
    expect(event).toMatchObject({ taskId: finished, to: "pending" });
  },
  "TaskService/ExplainTask": async ({ world, running, node }) => {
    const { nodes } = await world.unary("sms", "TaskService/ExplainTask", { taskId: running });
    expect(nodes).toContainEqual(expect.objectContaining({ nodeId: node, chosen: true }));
  },
  "TaskService/AuditTask": async ({ world }) => {
    const audit = await world.unary("sms", "TaskService/AuditTask", { taskId: await world.asks() });
    expect(audit).toMatchObject({ proposal: ["config:A"], attempts: [{ attempt: 1 }] });
  },
  "TaskService/ReadLogs": async ({ world, finished }) => {
    const chunks = world.stream("sms", "TaskService/ReadLogs", { taskId: finished });
    expect(await output(chunks)).toBe("out\n");
  },
};
