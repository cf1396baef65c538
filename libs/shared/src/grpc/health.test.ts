import { afterAll, beforeAll, expect, test } from "bun:test";
import { credentials, makeClientConstructor, type ClientReadableStream } from "@grpc/grpc-js";
import { Fault } from "../fault.ts";
import { messages, unary } from "./client.ts";
import { jsonDefinition } from "./descriptors.ts";
import { startGrpc, type RunningGrpc } from "./server.ts";

interface Standing {
  status: string;
}

let ready = true;
let server: RunningGrpc;
beforeAll(async () => {
  server = await startGrpc("127.0.0.1:0", [], { ready: () => Promise.resolve(ready) });
});
afterAll(() => server[Symbol.asyncDispose]());

const Client = makeClientConstructor(jsonDefinition("grpc.health.v1.Health"), "Health");

function call(method: string, request: object) {
  const client = new Client(server.address, credentials.createInsecure());
  const result = unary<object, Standing>(
    client,
    client[method] as unknown as Parameters<typeof unary<object, Standing>>[1],
    request,
  );
  return result.finally(() => client.close());
}

test("the server as a whole is healthy while it is ready", async () => {
  ready = true;
  expect(await call("Check", {})).toEqual({ status: "SERVING" });
  expect(await call("List", {})).toEqual({ statuses: { "": { status: "SERVING" } } } as never);
  ready = false;
  expect(await call("Check", {})).toEqual({ status: "NOT_SERVING" });
});

test("an unknown service is not found", async () => {
  const error: unknown = await call("Check", { service: "nothing" }).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(Fault);
  expect((error as Fault).code).toBe("not_found");
});

test("a watcher sees each change once", async () => {
  ready = true;
  const client = new Client(server.address, credentials.createInsecure());
  const stream = client["Watch"]?.({}) as unknown as ClientReadableStream<Standing>;
  const seen: string[] = [];
  for await (const { status } of messages(stream)) {
    seen.push(status);
    if (seen.length === 1) ready = false;
    else break;
  }
  expect(seen).toEqual(["SERVING", "NOT_SERVING"]);
  client.close();
});
