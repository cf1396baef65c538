import { afterAll, beforeAll, expect, test } from "bun:test";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  credentials,
  makeClientConstructor,
  type ClientDuplexStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { silentLog } from "../log.ts";
import { jsonDefinition } from "./descriptors.ts";
import { Handlers, unimplemented } from "./handlers.ts";
import { startGrpc, type RunningGrpc } from "./server.ts";

interface Answer {
  fileDescriptorResponse?: { fileDescriptorProto: string[] };
  listServicesResponse?: { service: { name: string }[] };
  allExtensionNumbersResponse?: { baseTypeName: string };
  errorResponse?: { errorCode: number; errorMessage: string };
}

let server: RunningGrpc;
beforeAll(async () => {
  const definition = jsonDefinition("spear.sms.v1.TaskService");
  const handler = new Handlers(silentLog).unary(unimplemented("this"));
  const handlers = Object.fromEntries(Object.keys(definition).map((name) => [name, handler]));
  server = await startGrpc("127.0.0.1:0", [{ definition, handlers }]);
});
afterAll(() => server[Symbol.asyncDispose]());

/** Asks the questions one after the other in one stream. */
async function ask(version: string, questions: object[]): Promise<Answer[]> {
  const name = `grpc.reflection.${version}.ServerReflection`;
  const Client = makeClientConstructor(jsonDefinition(name), name);
  const client = new Client(server.address, credentials.createInsecure());
  const call = client["ServerReflectionInfo"]?.() as unknown as ClientDuplexStream<object, Answer>;
  for (const question of questions) call.write(question);
  call.end();
  const answers: Answer[] = [];
  try {
    for await (const answer of call) answers.push(answer as Answer);
  } finally {
    client.close();
  }
  return answers;
}

function files(answer: Answer | undefined): string[] {
  return (answer?.fileDescriptorResponse?.fileDescriptorProto ?? []).map(
    (bytes) => fromBinary(FileDescriptorProtoSchema, Buffer.from(bytes, "base64")).name,
  );
}

test.each(["v1", "v1alpha"])(
  "%s lists what the server serves and nothing else",
  async (version) => {
    const [answer] = await ask(version, [{ listServices: "" }]);
    expect(answer?.listServicesResponse?.service.map(({ name }) => name)).toEqual([
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
      "spear.sms.v1.TaskService",
    ]);
  },
);

test("a symbol is found by service, method, message and field, with its imports first", async () => {
  const symbols = [
    "spear.sms.v1.TaskService",
    "spear.sms.v1.TaskService.SubmitTask",
    "spear.sms.v1.SubmitTaskRequest",
    "spear.sms.v1.SubmitTaskRequest.spec",
  ];
  const answers = await ask(
    "v1",
    symbols.map((fileContainingSymbol) => ({ fileContainingSymbol })),
  );
  expect(answers).toHaveLength(symbols.length);
  for (const answer of answers) {
    expect(files(answer)).toEqual(["spear/common/v1/task.proto", "spear/sms/v1/task.proto"]);
  }
});

test("a file is found by its name", async () => {
  const [answer] = await ask("v1", [{ fileByFilename: "spear/common/v1/node.proto" }]);
  expect(files(answer)).toEqual(["spear/common/v1/node.proto"]);
});

test("what is not there is answered in the stream, which goes on", async () => {
  const answers = await ask("v1alpha", [
    { fileContainingSymbol: "spear.sms.v1.Nothing" },
    { fileContainingSymbol: "spear.sms.v1.TaskService.Nothing" },
    { fileContainingSymbol: "" },
    { fileByFilename: "nothing.proto" },
    { fileContainingExtension: { containingType: "spear.common.v1.Task", extensionNumber: 1 } },
    { allExtensionNumbersOfType: "spear.common.v1.Nothing" },
    { allExtensionNumbersOfType: "spear.common.v1.Task" },
  ]);
  expect(answers.map(({ errorResponse }) => errorResponse?.errorCode)).toEqual([
    5,
    5,
    5,
    5,
    5,
    5,
    undefined,
  ]);
  expect(answers[6]?.allExtensionNumbersResponse?.baseTypeName).toBe("spear.common.v1.Task");
});

test("bytes that are no question end the stream with invalid_argument", async () => {
  const name = "grpc.reflection.v1.ServerReflection";
  const Client = makeClientConstructor(
    {
      Info: {
        ...jsonDefinition(name)["ServerReflectionInfo"]!,
        requestSerialize: () => Buffer.from([0xff, 0xff, 0xff]),
      },
    },
    name,
  );
  const client = new Client(server.address, credentials.createInsecure());
  const call = client["Info"]?.() as unknown as ClientDuplexStream<object, Answer>;
  const error = new Promise<ServiceError>((resolve) => call.on("error", resolve));
  call.write({});
  expect((await error).metadata.get("spear-code")).toEqual(["invalid_argument"]);
  client.close();
});
