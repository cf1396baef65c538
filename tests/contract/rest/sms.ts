/** SMS over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json } from "../world.ts";
import { firstMessage } from "./socket.ts";
import { jobsRest } from "./jobs.ts";
import { schedulesRest } from "./schedules.ts";
import { operational } from "./operational.ts";

export const smsRest: Cases = {
  ...operational("sms"),
  ...jobsRest,
  ...schedulesRest,
  "POST /v1/tasks": async ({ world }) => {
    const body = { spec: { name: "once", mock: {} }, idempotencyKey: crypto.randomUUID() };
    const first = await world.ok("sms", "POST /v1/tasks", { body }, 201);
    const again = await world.ok("sms", "POST /v1/tasks", { body }, 201);
    expect(first).toMatchObject({ name: "once", runtime: "mock", spec: body.spec });
    expect(again["id"]).toBe(first["id"]);
  },
  "POST /v1/tasks:batch": async ({ world }) => {
    const body = { specs: [{ mock: {} }, { mock: { print: "x" } }] };
    const { taskIds } = await world.ok("sms", "POST /v1/tasks:batch", { body }, 201);
    expect(taskIds).toHaveLength(2);
    for (const id of taskIds as string[]) await world.reaches(id, "succeeded");
  },
  "GET /v1/tasks": async ({ world, finished, running }) => {
    const list = async (query: Record<string, string>) =>
      (await world.ok("sms", "GET /v1/tasks", { query }))["tasks"] as Json[];
    expect((await list({ state: "running" })).map(({ id }) => id)).toContain(running);
    expect((await list({ runtime: "process" })).map(({ id }) => id)).toContain(finished);
    expect(await list({ name: "nothing" })).toEqual([]);
    const page = await world.ok("sms", "GET /v1/tasks", { query: { pageSize: "1" } });
    expect(page["tasks"]).toHaveLength(1);
    const next = await list({ pageSize: "1", pageToken: page["nextPageToken"] as string });
    expect(next[0]?.["id"]).not.toBe((page["tasks"] as Json[])[0]?.["id"]);
  },
  "GET /v1/tasks/{id}": async ({ world, finished, node }) => {
    const task = await world.ok("sms", "GET /v1/tasks/{id}", { path: { id: finished } });
    expect(task).toMatchObject({ state: "succeeded", attempt: 1, exitCode: 0, nodeId: node });
  },
  "POST /v1/tasks/{id}/cancel": async ({ world }) => {
    const id = await world.submit({ mock: { hang: true } });
    await world.reaches(id, "running");
    await world.ok("sms", "POST /v1/tasks/{id}/cancel", { path: { id } });
    await world.reaches(id, "cancelled");
    const again = await world.ok("sms", "POST /v1/tasks/{id}/cancel", { path: { id } });
    expect(again).toMatchObject({ state: "cancelled" });
  },
  "GET /v1/tasks/{id}/history": async ({ world, finished }) => {
    const { events } = await world.ok("sms", "GET /v1/tasks/{id}/history", {
      path: { id: finished },
    });
    const states = (events as Json[]).map(({ to }) => to).filter((to) => to !== "");
    expect(states).toEqual(["pending", "assigned", "running", "succeeded"]);
  },
  "GET /v1/tasks/{id}/audit": async ({ world }) => {
    const path = { id: await world.asks() };
    const audit = await world.ok("sms", "GET /v1/tasks/{id}/audit", { path });
    expect(audit).toMatchObject({ granted: ["config"], proposal: ["config:A"], missing: [] });
  },
  "GET /v1/tasks/{id}/why": async ({ world, running, node }) => {
    const id = await world.submit({ mock: {}, constraints: ["label.zone == mars"] });
    const waits = await world.ok("sms", "GET /v1/tasks/{id}/why", { path: { id } });
    expect(waits).toMatchObject({ taskId: id, state: "pending" });
    expect(JSON.stringify(waits["nodes"])).toContain("zone");
    const placed = await world.ok("sms", "GET /v1/tasks/{id}/why", { path: { id: running } });
    expect(placed["nodes"]).toContainEqual(expect.objectContaining({ nodeId: node, chosen: true }));
    await world.ok("sms", "POST /v1/tasks/{id}/cancel", { path: { id } });
  },
  "GET /v1/tasks/{id}/logs": async ({ world, finished }) => {
    const frames = (
      await world.rest("sms", "GET /v1/tasks/{id}/logs", { path: { id: finished } })
    ).text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Json);
    const written = (stream: string) =>
      frames
        .filter((frame) => frame["stream"] === stream)
        .map(({ data }) => Buffer.from(data as string, "base64").toString())
        .join("");
    expect({ out: written("stdout"), err: written("stderr") }).toEqual({
      out: "out\n",
      err: "err\n",
    });
    expect(frames.at(-1)?.["end"]).toMatchObject({ id: finished, state: "succeeded" });
    const raw = await world.rest("sms", "GET /v1/tasks/{id}/logs", {
      path: { id: finished },
      query: { stream: "stdout" },
      headers: { accept: "application/octet-stream" },
    });
    expect(raw.text).toBe("out\n");
  },
  "GET /v1/events": async ({ world }) => {
    const url = world.url("sms", "GET /v1/events", { query: { after: "0" } });
    expect(await firstMessage(url)).toMatchObject({ seq: 1, attempt: expect.any(Number) });
  },
  "GET /v1/tasks/{id}/events": async ({ world, finished }) => {
    const call = { path: { id: finished }, query: { after: "0" } };
    const event = await firstMessage(world.url("sms", "GET /v1/tasks/{id}/events", call));
    expect(event).toMatchObject({ taskId: finished, from: "", to: "pending" });
  },
  "GET /v1/nodes": async ({ world, node }) => {
    const { nodes } = await world.ok("sms", "GET /v1/nodes", { query: { state: "ready" } });
    expect((nodes as Json[]).map(({ id }) => id)).toContain(node);
  },
  "GET /v1/nodes/{id}": async ({ world, node }) => {
    const found = await world.ok("sms", "GET /v1/nodes/{id}", { path: { id: node } });
    expect(found).toMatchObject({ id: node, state: "ready", name: "node-1" });
  },
  "POST /v1/nodes/{id}/drain": async ({ world }) => {
    const id = await world.paperNode();
    const drained = await world.ok("sms", "POST /v1/nodes/{id}/drain", { path: { id } });
    expect(drained).toMatchObject({ id, state: "draining" });
    expect(drained["drainUntilMs"]).toBeUndefined();
    const soon = { path: { id }, body: { deadlineMs: 60_000 } };
    const until = (await world.ok("sms", "POST /v1/nodes/{id}/drain", soon))["drainUntilMs"];
    expect(until).toBeGreaterThan(Date.now());
    const call = { path: { id }, body: { undo: true } };
    expect(await world.ok("sms", "POST /v1/nodes/{id}/drain", call)).toMatchObject({
      state: "ready",
    });
    await world.ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
  },
  "POST /v1/nodes/{id}/cordon": async ({ world }) => {
    const id = await world.paperNode();
    const cordon = (body: Json) =>
      world.ok("sms", "POST /v1/nodes/{id}/cordon", { path: { id }, body });
    expect(await cordon({})).toMatchObject({ id, state: "ready", cordoned: true });
    expect((await cordon({ undo: true }))["cordoned"]).toBeUndefined();
    await world.ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
  },
  "POST /v1/nodes/{id}/labels": async ({ world }) => {
    const id = await world.paperNode();
    const label = async (body: Json) =>
      (await world.ok("sms", "POST /v1/nodes/{id}/labels", { path: { id }, body }))["labels"];
    expect(await label({ set: { zone: "eu", disk: "ssd" } })).toEqual({ zone: "eu", disk: "ssd" });
    expect(await label({ set: { disk: "" }, remove: ["zone"] })).toEqual({ disk: "" });
    await world.ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
  },
  "GET /v1/nodes/{id}/usage": async ({ world, node }) => {
    const { samples } = await world.ok("sms", "GET /v1/nodes/{id}/usage", { path: { id: node } });
    expect((samples as Json[])[0]).toMatchObject({ reservedSlots: expect.any(Number) });
  },
  "POST /v1/join-tokens": async ({ world }) => {
    const body = { name: "rack 1", ttlMs: 60_000 };
    const made = await world.ok("sms", "POST /v1/join-tokens", { body }, 201);
    expect(made["secret"]).toMatch(/^spear-join-[0-9a-f]{8}\.\S{43}$/);
    expect(made["joinToken"]).toMatchObject({ name: "rack 1", expiresAtMs: expect.any(Number) });
  },
  "GET /v1/join-tokens": async ({ world }) => {
    const body = { ttlMs: 0 };
    const { joinToken } = await world.ok("sms", "POST /v1/join-tokens", { body }, 201);
    const { joinTokens } = await world.ok("sms", "GET /v1/join-tokens");
    expect(joinTokens).toContainEqual(joinToken);
    expect(JSON.stringify(joinTokens)).not.toContain("hash");
  },
  "DELETE /v1/join-tokens/{id}": async ({ world }) => {
    const made = await world.ok("sms", "POST /v1/join-tokens", { body: {} }, 201);
    const path = { id: (made["joinToken"] as Json)["id"] as string };
    await world.ok("sms", "DELETE /v1/join-tokens/{id}", { path }, 204);
    const again = await world.problem("sms", "DELETE /v1/join-tokens/{id}", { path });
    expect(again.code).toBe("not_found");
  },
  "DELETE /v1/nodes/{id}": async ({ world }) => {
    const id = await world.paperNode();
    await world.ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
    const found = await world.rest("sms", "GET /v1/nodes/{id}", { path: { id } });
    expect(found.status === 404 || found.json["state"] === "left").toBe(true);
  },
};
