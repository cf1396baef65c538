import { afterAll, beforeAll, expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environmentOf, flagOf, loadConfig, type ConfigSources } from "./config.ts";
import { Fault } from "./fault.ts";

const schema = Type.Object({
  httpListen: Type.String({ default: "127.0.0.1:7700" }),
  slots: Type.Integer({ default: 4, minimum: 1 }),
  keep: Type.Boolean({ default: false }),
  runtimes: Type.Array(Type.String(), { default: [] }),
  labels: Type.Record(Type.String(), Type.String(), { default: {} }),
});

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-config-"));
});
afterAll(() => rm(directory, { recursive: true }));

function load(sources: Partial<ConfigSources>) {
  return loadConfig("sms", schema, { flags: {}, environment: {}, ...sources });
}

async function file(text: string) {
  const path = join(directory, `${crypto.randomUUID()}.yaml`);
  await writeFile(path, text);
  return { path, required: true };
}

test("flag over environment over file over default", async () => {
  const yaml = await file("sms:\n  slots: 1\n  keep: true\n  httpListen: a:1\n");
  const environment = { SPEAR_SMS_SLOTS: "2", SPEAR_SMS_HTTP_LISTEN: "b:2" };
  const config = load({ file: yaml, environment, flags: { httpListen: "c:3" } });
  expect(config).toEqual({ httpListen: "c:3", slots: 2, keep: true, runtimes: [], labels: {} });
});

test("lists and maps are read from a shell's words", () => {
  const environment = { SPEAR_SMS_RUNTIMES: "process,wasm", SPEAR_SMS_LABELS: "zone=eu,a=b=c" };
  const { runtimes, labels } = load({ environment });
  expect(runtimes).toEqual(["process", "wasm"]);
  expect(labels).toEqual({ zone: "eu", a: "b=c" });
});

test.each([
  [{ SPEAR_SMS_SLOTS: "many" }, "sms.slots"],
  [{ SPEAR_SMS_SLOTS: "0" }, "sms.slots"],
  [{ SPEAR_SMS_KEEP: "perhaps" }, "sms.keep"],
])("%j is refused", (environment, field) => {
  const attempt = () => load({ environment });
  expect(attempt).toThrow(Fault);
  expect(attempt).toThrow(field);
});

test("an unknown setting, a broken file and a missing one are refused", async () => {
  const unknown = await file("sms:\n  slot: 1\n");
  expect(() => load({ file: unknown })).toThrow("sms.slot: unknown setting");
  const broken = await file("sms: [");
  expect(() => load({ file: broken })).toThrow("can't read");
  const missing = { path: join(directory, "nothing.yaml"), required: true };
  expect(() => load({ file: missing })).toThrow("can't read");
  expect(load({ file: { ...missing, required: false } }).slots).toBe(4);
});

test("names of flags and variables", () => {
  expect(flagOf("grpcListen")).toBe("--grpc-listen");
  expect(environmentOf("sms", "grpcListen")).toBe("SPEAR_SMS_GRPC_LISTEN");
});
