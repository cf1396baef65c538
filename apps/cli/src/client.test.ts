import { Fault } from "@spear/shared/fault.ts";
import type { Event } from "@spear/shared/task.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Server } from "node:net";
import { Client, parseAddress, type Page } from "./client.ts";

const at = (address: string) =>
  new Client({ what: "SMS", address, help: "start one", token: "secret" });

async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  const error: unknown = await promise.catch((thrown: unknown) => thrown);
  if (error instanceof Fault) return error;
  throw new Error("it did not fail with a fault");
}

const event = (seq: number): Event => ({
  seq,
  atMs: 1,
  kind: "task.state",
  attempt: 0,
  from: "",
  to: "pending",
  reason: "submitted",
});

let server: Bun.Server<{ path: string }>;
let client: Client;
beforeAll(() => {
  server = Bun.serve<{ path: string }>({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request, upgrading) {
      const { pathname, searchParams } = new URL(request.url);
      if (pathname.startsWith("/ws")) {
        upgrading.upgrade(request, { data: { path: pathname + new URL(request.url).search } });
        return undefined;
      }
      if (pathname === "/fault") {
        return Response.json(
          new Fault("task_not_found", "there is no task x", {
            field: "id",
            help: "look",
          }).toProblem(),
          { status: 404, headers: { "content-type": "application/problem+json" } },
        );
      }
      if (pathname === "/pages") {
        const from = Number(searchParams.get("pageToken") ?? 0);
        const size = Number(searchParams.get("pageSize"));
        const items = [from, from + 1, from + 2].filter((item) => item < 7).slice(0, size);
        const next = from + items.length;
        return Response.json({
          items,
          seen: searchParams.getAll("label"),
          ...(next < 7 ? { nextPageToken: String(next) } : {}),
        });
      }
      if (pathname === "/me") {
        return Response.json({ authorization: request.headers.get("authorization") });
      }
      return new Response("<html>", { status: 418 });
    },
    websocket: {
      open(socket) {
        if (socket.data.path.startsWith("/ws-fault")) {
          socket.send(
            JSON.stringify({ error: new Fault("events_trimmed", "they are gone").toProblem() }),
          );
        } else for (const seq of [1, 2, 3]) socket.send(JSON.stringify(event(seq)));
        if (!socket.data.path.startsWith("/ws-open")) socket.close();
      },
      message() {},
    },
  });
  client = at(`http://127.0.0.1:${server.port}`);
});
afterAll(() => server.stop(true));

describe("answers", () => {
  test("a problem document is the fault that the server threw", async () => {
    const fault = await faultOf(client.json("GET", "/fault"));
    expect(fault).toMatchObject({ code: "task_not_found", field: "id", help: "look" });
  });

  test("so it is for HEAD, whose answer has no body", async () => {
    const fault = await faultOf(client.request("HEAD", "/fault"));
    expect(fault).toMatchObject({ code: "task_not_found", field: "id" });
  });

  test("something else that listens there is not taken for SMS", async () => {
    const fault = await faultOf(client.json("GET", "/other"));
    expect(fault.message).toContain("answered 418 and is not SMS");
  });

  test("the token goes along", async () => {
    expect(await client.json<unknown>("GET", "/me")).toEqual({ authorization: "Bearer secret" });
  });

  test("pages are read to the end, or to the limit", async () => {
    interface Items extends Page {
      items: number[];
      seen: string[];
    }
    const all = await Array.fromAsync(
      client.pages<Items>("/pages", { label: ["a=1", "b=2"] }, (page) => page.items.length),
    );
    expect(all.flatMap((page) => page.items)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(all[0]?.seen).toEqual(["a=1", "b=2"]);
    const some = await Array.fromAsync(
      client.pages<Items>("/pages", {}, (page) => page.items.length, 4),
    );
    expect(some.flatMap((page) => page.items)).toEqual([0, 1, 2, 3]);
  });
});

describe("events", () => {
  test("come in order until the server closes", async () => {
    const events = await Array.fromAsync(client.events("/ws", 0));
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  test("a refusal is its fault", async () => {
    const fault = await faultOf(Array.fromAsync(client.events("/ws-fault", 0)));
    expect(fault.code).toBe("events_trimmed");
  });

  test("leaving the loop and the signal both end it", async () => {
    for await (const { seq } of client.events("/ws-open", 0)) if (seq === 2) break;
    const abort = new AbortController();
    for await (const { seq } of client.events("/ws-open", 0, abort.signal)) {
      if (seq === 3) abort.abort();
    }
  });
});

describe("a server that is away", () => {
  let silent: Server;
  let port: number;
  beforeAll(async () => {
    silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const bound = silent.address();
    port = typeof bound === "object" && bound !== null ? bound.port : 0;
  });
  afterAll(() => silent.close());

  test("refuses: the address and what to check are said at once", async () => {
    const fault = await faultOf(at("http://127.0.0.1:1").json("GET", "/"));
    expect(fault.code).toBe("unavailable");
    expect(fault.message).toBe("SMS does not answer at http://127.0.0.1:1");
    expect(fault.help).toBe("start one");
  });

  test("accepts and says nothing: noticed within five seconds, by REST and WebSocket", async () => {
    const startedAt = performance.now();
    const mute = at(`http://127.0.0.1:${port}`);
    const faults = await Promise.all([
      faultOf(mute.json("GET", "/")),
      faultOf(Array.fromAsync(mute.events("/", 0))),
    ]);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    for (const fault of faults) {
      expect(fault.message).toBe(`SMS does not answer in time at http://127.0.0.1:${port}`);
    }
  });
});

test("addresses", () => {
  expect(parseAddress("127.0.0.1:7700", "--address")).toBe("http://127.0.0.1:7700");
  expect(parseAddress("https://spear.example/x", "--address")).toBe("https://spear.example");
  expect(parseAddress("[::1]:7700", "--address")).toBe("http://[::1]:7700");
  for (const text of ["", "ftp://x", "::x", "http://"]) {
    expect(() => parseAddress(text, "--address")).toThrow("--address: ");
  }
});
