import { Fault } from "@spear/shared/fault.ts";
import { afterEach, describe, expect, test } from "bun:test";
import { Client } from "./client.ts";
import { readLogs, type LogOptions } from "./logs.ts";

const id = "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A";
let server: Bun.Server<undefined> | undefined;
afterEach(() => server?.stop(true));

const frame = (stream: string, text: string, offset: number, attempt = 1) =>
  `${JSON.stringify({ stream, data: Buffer.from(text).toString("base64"), attempt, offset })}\n`;
const end = `${JSON.stringify({ end: { id, state: "succeeded" } })}\n`;

/** Answers the first request for output with the first body, and so on; "away" breaks the connection. */
function serving(...bodies: string[]): { client: Client; asked: string[] } {
  const asked: string[] = [];
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const { pathname, search } = new URL(request.url);
      if (!pathname.endsWith("/logs")) return Response.json({ id, state: "running" });
      asked.push(search);
      const body = bodies[Math.min(asked.length, bodies.length) - 1] ?? "";
      if (body !== "away") return new Response(body);
      return Response.json(new Fault("unavailable", "Redis does not answer").toProblem(), {
        status: 503,
        headers: { "content-type": "application/problem+json" },
      });
    },
  });
  const address = `http://127.0.0.1:${server.port}`;
  return { client: new Client({ what: "SMS", address, help: "", token: undefined }), asked };
}

async function readAll(
  client: Client,
  options: LogOptions,
): Promise<{ text: string; end: unknown }> {
  const pieces = readLogs(client, id, options);
  let text = "";
  for (;;) {
    const { value, done } = await pieces.next();
    if (done === true) return { text, end: value };
    text += `${value.stream}:${Buffer.from(value.bytes).toString()} `;
  }
}

describe("a task's output", () => {
  test("comes stream by stream until its end; blank lines are nothing", async () => {
    const { client } = serving(`\n${frame("stdout", "a", 0)}\n${frame("stderr", "b", 0)}${end}`);
    expect(await readAll(client, { follow: true })).toEqual({
      text: "stdout:a stderr:b ",
      end: expect.objectContaining({ state: "succeeded" }),
    });
  });

  test("goes on after a broken connection without a gap or a repetition", async () => {
    const { client, asked } = serving(
      frame("stdout", "abc", 100) + frame("stderr", "x", 0),
      "away",
      frame("stdout", "0123", 96) + frame("stdout", "abcd", 100) + frame("stderr", "x", 0),
      frame("stdout", "abcdef", 100) + frame("stdout", "g", 0, 2) + end,
    );
    const { text } = await readAll(client, { follow: true, tail: 3 });
    expect(text).toBe("stdout:abc stderr:x stdout:d stdout:ef stdout:g ");
    expect(asked[0]).toBe("?follow=true&tail=3");
    expect(asked.slice(1)).toEqual(["?follow=true", "?follow=true", "?follow=true"]);
  });

  test("that broke off is not tried again unless it is followed", async () => {
    const { client, asked } = serving(frame("stdout", "a", 0));
    expect(await readAll(client, { follow: false })).toEqual({ text: "stdout:a ", end: undefined });
    expect(asked).toHaveLength(1);
  });

  test("a fault within the stream is thrown", async () => {
    const gone = new Fault("task_not_found", "there is no such task").toProblem();
    const { client } = serving(`${JSON.stringify({ error: gone })}\n`);
    expect(readAll(client, { follow: true })).rejects.toThrow("there is no such task");
  });

  test("an address where nobody is fails at once", async () => {
    const client = new Client({
      what: "SMS",
      address: "http://127.0.0.1:1",
      help: "",
      token: undefined,
    });
    const startedAt = performance.now();
    expect(readAll(client, { follow: true })).rejects.toThrow("does not answer");
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});
