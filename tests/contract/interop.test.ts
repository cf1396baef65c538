/** gRPC as others speak it: a client in Python over stubs made by protoc. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Glob } from "bun";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { World } from "./world.ts";

const protos = join(import.meta.dir, "../../libs/proto/proto");
/** Debian's own, for which its python3-grpcio is made. */
const python = "/usr/bin/python3";

let world: World;
let stubs: string;

async function run(command: string[], environment: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn(command, {
    env: { ...process.env, ...environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`${command[0]} ended with ${exitCode}:\n${err}`);
  return out;
}

beforeAll(async () => {
  stubs = await mkdtemp(join(tmpdir(), "spear-interop-"));
  const plugin = Bun.which("grpc_python_plugin");
  if (plugin === null) throw new Error("grpc_python_plugin is missing; scripts/test installs it");
  const [started] = await Promise.all([
    World.start(),
    run([
      "protoc",
      `-I${protos}`,
      `--python_out=${stubs}`,
      `--grpc_out=${stubs}`,
      `--plugin=protoc-gen-grpc=${plugin}`,
      ...new Glob("**/*.proto").scanSync({ cwd: protos }),
    ]),
  ]);
  world = started;
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await rm(stubs, { recursive: true });
});

test("Python submits, watches to the end, reads the output and is refused in its terms", async () => {
  const client = join(import.meta.dir, "interop/client.py");
  const environment = { PYTHONPATH: stubs, PYTHONDONTWRITEBYTECODE: "1" };
  const seen: unknown = JSON.parse(
    await run([python, client, world.address("sms").grpc], environment),
  );
  const { id } = seen as { id: string };
  expect(seen).toEqual({
    id: expect.stringMatching(/^task_/),
    states: ["pending", "assigned", "running", "failed"],
    output: { stdout: "hällo\n", stderr: "wörld\n" },
    end: "TASK_STATE_FAILED",
    exitCode: 3,
    hasFinished: true,
    listed: [id],
    nodes: ["node-1"],
    noRuntime: ["INVALID_ARGUMENT", "invalid_argument", "spec"],
    noTask: ["NOT_FOUND", "task_not_found", "taskId"],
  });
});
