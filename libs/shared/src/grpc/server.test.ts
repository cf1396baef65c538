/** Handlers over a real connection: faults, bad bytes, cancellation, backpressure, end. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  credentials,
  makeClientConstructor,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  type ServiceDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { Fault } from "../fault.ts";
import { aborted } from "../lifecycle.ts";
import { silentLog } from "../log.ts";
import { grpcFault, messages, unary } from "./client.ts";
import { Handlers } from "./handlers.ts";
import { startGrpc, type RunningGrpc } from "./server.ts";

interface Message {
  text: string;
}

const serialise = (message: Message) => Buffer.from(JSON.stringify(message));
const deserialise = (bytes: Buffer) => JSON.parse(bytes.toString()) as Message;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: serialise,
  requestDeserialize: deserialise,
  responseSerialize: serialise,
  responseDeserialize: deserialise,
});
const definition = {
  Say: method("Say", false, false),
  Count: method("Count", false, true),
  Join: method("Join", true, false),
  Talk: method("Talk", true, true),
} satisfies ServiceDefinition;

let produced = 0;
let cancelled = Promise.withResolvers<void>();
let server: RunningGrpc;
let client: Client & Record<string, unknown>;

beforeAll(async () => {
  const handlers = new Handlers(silentLog);
  server = await startGrpc("127.0.0.1:0", [
    {
      definition,
      handlers: {
        Say: handlers.unary(async ({ text }: Message, { signal }) => {
          if (text === "fault") throw new Fault("task_not_found", "no such task", { field: "id" });
          if (text === "crash") throw new Error("password: hunter2");
          if (text === "wait") {
            await aborted(signal);
            cancelled.resolve();
          }
          return { text };
        }),
        Count: handlers.serverStream(async function* ({ text }: Message, { signal }) {
          const size = "x".repeat(64 << 10);
          try {
            for (produced = 0; produced < Number(text); produced++) yield { text: size };
            if (Number(text) === 0) await aborted(signal);
          } finally {
            if (signal.aborted) cancelled.resolve();
          }
        }),
        Join: handlers.clientStream(async (requests: AsyncIterable<Message>) => {
          const parts: string[] = [];
          for await (const { text } of requests) {
            if (text === "stop") throw new Fault("payload_too_large", "enough");
            parts.push(text);
          }
          return { text: parts.join() };
        }),
        Talk: handlers.bidi(async function* (requests: AsyncIterable<Message>) {
          for await (const { text } of requests) yield { text: `you said ${text}` };
          yield { text: "bye" };
        }),
      },
    },
  ]);
  client = new (makeClientConstructor(definition, "Echo"))(
    server.address,
    credentials.createInsecure(),
  );
});
afterAll(async () => {
  client.close();
  await server[Symbol.asyncDispose]();
});

type Unary = Parameters<typeof unary<Message, Message>>[1];
const say = (text: string, settings?: Parameters<typeof unary>[3]) =>
  unary(client, client["Say"] as Unary, { text }, settings);
const count = (text: string) =>
  (client["Count"] as (request: Message) => ClientReadableStream<Message>).call(client, { text });

/** The fault that a promise rejects with. */
async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(Fault);
  return error as Fault;
}

test("an answer, a fault with its field, and a failure that says nothing", async () => {
  expect(await say("hello")).toEqual({ text: "hello" });
  expect(await faultOf(say("fault"))).toMatchObject({ code: "task_not_found", field: "id" });
  const crash = await faultOf(say("crash"));
  expect(crash.code).toBe("internal");
  expect(crash.message).not.toContain("hunter2");
});

test("bytes that are no message are the caller's mistake", async () => {
  const broken = { ...definition.Say, requestSerialize: () => Buffer.from("{") };
  const Broken = makeClientConstructor({ Say: broken }, "Echo");
  const other = new Broken(server.address, credentials.createInsecure());
  const fault = await faultOf(unary(other, other["Say"] as unknown as Unary, { text: "" }));
  expect(fault.code).toBe("invalid_argument");
  other.close();
});

test("a caller that gives up aborts the handler", async () => {
  cancelled = Promise.withResolvers<void>();
  const controller = new AbortController();
  const call = faultOf(say("wait", { signal: controller.signal }));
  controller.abort();
  expect((await call).code).toBe("cancelled");
  await say("hello");
});

test("a deadline aborts the handler", async () => {
  cancelled = Promise.withResolvers<void>();
  expect((await faultOf(say("wait", { timeoutMs: 50 }))).code).toBe("timeout");
  await cancelled.promise;
});

test("a stream arrives whole", async () => {
  let seen = 0;
  for await (const { text } of messages(count("200"))) seen += text.length;
  expect(seen).toBe(200 * (64 << 10));
});

test("a slow reader holds the producer back, and leaving ends it", async () => {
  cancelled = Promise.withResolvers<void>();
  for await (const _ of messages(count("100000"))) break;
  await cancelled.promise;
  expect(produced).toBeLessThan(2_000);
});

test("a client's stream ends in one answer, also when it is refused midway", async () => {
  const join = (texts: string[]) =>
    new Promise<Message>((resolve, reject) => {
      const call = (
        client["Join"] as (
          callback: (error: ServiceError | null, message: Message) => void,
        ) => ClientWritableStream<Message>
      ).call(client, (error, message) => {
        if (error === null) resolve(message);
        else reject(grpcFault(error));
      });
      call.on("error", () => undefined);
      for (const text of texts) call.write({ text });
      call.end();
    });
  expect(await join(["a", "b"])).toEqual({ text: "a,b" });
  expect((await faultOf(join(["a", "stop", "b"]))).code).toBe("payload_too_large");
});

test("a conversation goes on after the caller has said all", async () => {
  const call = (client["Talk"] as () => ClientDuplexStream<Message, Message>).call(client);
  call.write({ text: "a" });
  call.end();
  const seen: string[] = [];
  for await (const { text } of messages(call)) seen.push(text);
  expect(seen).toEqual(["you said a", "bye"]);
});

test("an address that is taken is one clear fault", async () => {
  const fault = await faultOf(startGrpc(server.address, []));
  expect(fault.code).toBe("unavailable");
  expect(fault.message).toContain(server.address);
});

test("an open stream does not keep a server from ending", async () => {
  const other = await startGrpc("127.0.0.1:0", [
    {
      definition: { Count: definition.Count },
      handlers: {
        Count: new Handlers(silentLog).serverStream(async function* (_: Message, { signal }) {
          yield { text: "" };
          await aborted(signal);
        }),
      },
    },
  ]);
  const Other = makeClientConstructor({ Count: definition.Count }, "Echo");
  const caller = new Other(other.address, credentials.createInsecure());
  const stream = messages(
    (caller["Count"] as unknown as (m: Message) => ClientReadableStream<Message>).call(caller, {
      text: "",
    }),
  );
  await stream.next();
  await other[Symbol.asyncDispose]();
  await faultOf(stream.next());
  caller.close();
});
