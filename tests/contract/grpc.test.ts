/**
 * Every gRPC method of every program is called through its descriptor, without
 * generated code, and answers. A method without a case fails by its name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { unimplementedMethods } from "@spear/shared/unimplemented.ts";
import { Fixture, type Cases } from "./cases.ts";
import { first } from "./grpc/messages.ts";
import { smsGrpc } from "./grpc/sms.ts";
import { spearletGrpc } from "./grpc/spearlet.ts";
import { storeGrpc } from "./grpc/store.ts";
import { grpcMethods, programs, streams, type ProgramName } from "./operations.ts";
import type { Json } from "./world.ts";

const cases: Record<ProgramName, Cases> = {
  sms: smsGrpc,
  spearlet: spearletGrpc,
  store: storeGrpc,
};

let fixture: Fixture;
beforeAll(async () => {
  fixture = await Fixture.start();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const fullName = (program: ProgramName, method: string) => `spear.${program}.v1.${method}`;

/** Calls a method in its own way and resolves with the fault that it answers. */
async function faultOf(program: ProgramName, method: string): Promise<Fault> {
  const { client, server } = streams(program, method);
  const call = server
    ? first(fixture.world.stream(program, method, {}))
    : client
      ? fixture.world.upload(program, method, [])
      : fixture.world.unary(program, method, {});
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof Fault) return error;
  throw new Error(`${method} did not fail`, { cause: error });
}

describe.each([...programs])("%s", (program) => {
  const offered = grpcMethods(program);
  const isBuilt = (method: string) => !unimplementedMethods.includes(fullName(program, method));

  test.each(offered.filter(isBuilt))("%s", async (method) => {
    const run = cases[program][method];
    if (run === undefined) throw new Error(`no contract test for ${fullName(program, method)}`);
    await run(fixture);
  });

  test.each(offered.filter((method) => !isBuilt(method)))(
    "%s answers UNIMPLEMENTED",
    async (method) => {
      expect((await faultOf(program, method)).code).toBe("unimplemented");
    },
  );

  test("every case is of a method that is built", () => {
    const named = Object.keys(cases[program]);
    expect(named.filter((method) => !offered.includes(method) || !isBuilt(method))).toEqual([]);
  });

  test("every method of the list exists", () => {
    const all = new Set(
      programs.flatMap((each) => grpcMethods(each).map((name) => fullName(each, name))),
    );
    expect(unimplementedMethods.filter((name) => !all.has(name))).toEqual([]);
  });

  test("reflection lists what the program serves", async () => {
    const call = fixture.world.converse(
      program,
      "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    );
    call.write({ listServices: "" });
    call.end();
    const { value } = (await call[Symbol.asyncIterator]().next()) as { value: Json };
    const { service } = value["listServicesResponse"] as { service: { name: string }[] };
    const own = service.map(({ name }) => name).filter((name) => name.startsWith("spear."));
    const wanted = offered.map((method) => fullName(program, method).split("/")[0] ?? "");
    expect(own.toSorted()).toEqual([...new Set(wanted)].toSorted());
  });

  test("the standard health service says that it is ready", async () => {
    expect(await fixture.world.unary(program, "grpc.health.v1.Health/Check", {})).toEqual({
      status: "SERVING",
    });
  });
});
