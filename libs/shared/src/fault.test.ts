import { expect, test } from "bun:test";
import { status } from "@grpc/grpc-js";
import { Fault, faultTable, isFaultCode, type FaultCode } from "./fault.ts";
import { grpcFault } from "./grpc/client.ts";
import { statusOf } from "./grpc/handlers.ts";
import { silentLog } from "./log.ts";

const codes = Object.keys(faultTable) as FaultCode[];

test.each(codes)("%s survives both transports", (code) => {
  const fault = new Fault(code, "what happened: 100%", {
    field: "spec.process.command",
    help: "do this – now",
    cause: new Error("secret"),
  });
  const problem = fault.toProblem();
  expect(problem.status).toBe(faultTable[code].http);
  expect(JSON.stringify(problem)).not.toContain("secret");
  const wire = statusOf(fault, silentLog);
  expect(wire.code).toBe(faultTable[code].grpc);
  expect(JSON.stringify(wire.metadata)).not.toContain("secret");
  for (const read of [Fault.fromProblem(problem), grpcFault(wire)]) {
    expect({ ...read.toProblem() }).toEqual(problem);
  }
});

test("every code has a status of a failure and says so in words", () => {
  for (const { http, grpc, title } of Object.values(faultTable)) {
    expect(http).toBeGreaterThanOrEqual(400);
    expect(grpc).not.toBe(status.OK);
    expect(title).toMatch(/^[A-Z].*[^.]$/);
  }
});

test("an unknown failure says nothing of itself", () => {
  const fault = Fault.from(new Error("password: hunter2"));
  expect(fault.code).toBe("internal");
  expect(JSON.stringify(fault.toProblem())).not.toContain("hunter2");
  expect(Fault.from(fault)).toBe(fault);
});

test("a problem of an unknown code is internal", () => {
  expect(Fault.fromProblem({ code: "toString", detail: "x" }).code).toBe("internal");
  expect(Fault.fromProblem({}).message).toBe("unknown error");
  expect(isFaultCode("constructor")).toBe(false);
});

test("an error of gRPC's own gets the nearest code", () => {
  const error = Object.assign(new Error("x"), { code: status.UNAVAILABLE, details: "no route" });
  expect(grpcFault(error)).toMatchObject({ code: "unavailable", message: "no route" });
  expect(grpcFault(new Error("x")).code).toBe("internal");
});
