/** `spear run`, `task`, `node` and completion against a cluster of two nodes. */
import type { Node } from "@spear/shared/node.ts";
import type { Task } from "@spear/shared/task.ts";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import {
  environment,
  inTerminal,
  processesWith,
  spearCommand,
  startDev,
  until,
  type Dev,
} from "./spear.ts";

// Whole clusters start here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let dev: Dev;
let directory: string;
beforeAll(async () => {
  dev = await startDev(["--nodes", "2"]);
  directory = await mkdtemp(join(tmpdir(), "spear-cli-"));
});
afterAll(async () => {
  await dev[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const json = async <T>(...args: string[]): Promise<T> => {
  const { stdout } = await dev.spear([...args, "-o", "json"]);
  return JSON.parse(stdout) as T;
};
const run = (...command: string[]) => dev.spear(["run", "--", ...command]);

describe("run", () => {
  test("shows both streams apart and exits as the task did", async () => {
    const ended = await run("sh", "-c", "echo out; echo err >&2; exit 7");
    expect(ended).toEqual({ code: 7, stdout: "out\n", stderr: "err\n" });
  });

  test("shows each line as it comes", async () => {
    const gate = join(directory, "gate");
    const child = Bun.spawn(
      spearCommand(
        "run",
        "--",
        "sh",
        "-c",
        `echo one; until [ -e ${gate} ]; do sleep 0.05; done; echo two`,
      ),
      { env: environment(dev.env), stdout: "pipe", stderr: "ignore" },
    );
    const reader = child.stdout.getReader();
    const decoder = new TextDecoder();
    expect(decoder.decode((await reader.read()).value)).toBe("one\n");
    await writeFile(gate, "");
    expect(decoder.decode((await reader.read()).value)).toBe("two\n");
    expect(await child.exited).toBe(0);
  });

  test("passes on bytes as they are, also many of them", async () => {
    const child = Bun.spawn(
      spearCommand("run", "--", "sh", "-c", "printf '\\377\\000\\n'; seq 200000"),
      { env: environment(dev.env), stdout: "pipe" },
    );
    const bytes = Buffer.from(await child.stdout.bytes());
    expect([...bytes.subarray(0, 3)]).toEqual([255, 0, 10]);
    const numbers = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`).join("");
    expect(bytes.subarray(3).toString()).toBe(numbers);
  });

  test("a signal is 128 and its number, a timeout 124", async () => {
    const [killed, late] = await Promise.all([
      run("sh", "-c", "kill -KILL $$"),
      dev.spear(["run", "--timeout", "200ms", "--", "sleep", "60"]),
    ]);
    expect(killed.code).toBe(137);
    expect(late.code).toBe(124);
  });

  test("a command that does not exist is said", async () => {
    const ended = await run("/no/such/program");
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain("/no/such/program");
  });

  test("environment, standard input, inputs and outputs", async () => {
    await writeFile(join(directory, "env"), "# said\nA=file\nB=file\n");
    await dev.spear(["bucket", "create", "files", "--if-absent"]);
    await writeFile(join(directory, "in.txt"), "hello\n");
    await dev.spear(["object", "put", join(directory, "in.txt"), "files/in.txt"]);
    const script = 'cat; echo "$A $B"; tr a-z A-Z <sub/in.txt >out.txt';
    const variables = ["--env-file", join(directory, "env"), "-e", "A=flag"];
    const staging = ["--input", "files/in.txt:sub/in.txt", "--output", "out.txt:files/out.txt"];
    const ended = await dev.spear(
      ["run", "-i", ...variables, ...staging, "--", "sh", "-c", script],
      { stdin: "typed\n" },
    );
    expect(ended).toEqual({ code: 0, stdout: "typed\nflag file\n", stderr: "" });
    expect((await dev.spear(["object", "get", "files/out.txt", "-"])).stdout).toBe("HELLO\n");
  });

  test("an input that is missing fails with its name", async () => {
    await dev.spear(["bucket", "create", "files", "--if-absent"]);
    const ended = await dev.spear(["run", "--input", "files/none:in.txt", "--", "true"]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain("files/none");
  });

  test("Ctrl-C in a terminal cancels the task and leaves no process", async () => {
    const seconds = "31415.9";
    const terminal = inTerminal(dev.env, "run", "--", "sh", "-c", `echo started; sleep ${seconds}`);
    await until("the task to start", () => terminal.shown().includes("started") || undefined);
    expect(processesWith(`sleep ${seconds}`).size).toBeGreaterThan(0);
    terminal.type("\u0003");
    expect(await terminal.exited).toBe(130);
    expect(terminal.shown()).toContain("cancelling task_");
    const [pid] = [...processesWith(`sleep ${seconds}`).keys()];
    expect(pid).toBeUndefined();
    const [task] = await json<Task[]>("task", "ls", "--state", "cancelled", "--limit", "1");
    expect(task?.spec.process?.command.at(-1)).toContain(seconds);
  });

  test("a second Ctrl-C leaves at once; the task is cancelled all the same", async () => {
    const stubborn = "trap '' TERM; echo started; while :; do sleep 0.1; done";
    const options = ["--name", "stubborn", "--grace", "100ms"];
    const terminal = inTerminal(dev.env, "run", ...options, "--", "sh", "-c", stubborn);
    await until("the task to start", () => terminal.shown().includes("started") || undefined);
    terminal.type("\u0003");
    await until("the cancel", () => terminal.shown().includes("once more") || undefined);
    // The same wish may come twice within half a second: type until it is another.
    const typing = setInterval(() => terminal.type("\u0003"), 100);
    expect(await terminal.exited).toBe(130);
    clearInterval(typing);
    const ended = await until("the task to end", async () => {
      const [task] = await json<Task[]>("task", "ls", "--name", "stubborn");
      return task?.state === "cancelled" ? task : undefined;
    });
    expect(ended.cancelRequested).toBe(true);
  });

  test("a task that no node can take is said to wait, and Ctrl-C takes it back", async () => {
    const child = Bun.spawn(spearCommand("run", "--constraint", "label.zone == no", "--", "true"), {
      env: environment(dev.env),
      stdin: "ignore",
      stderr: "pipe",
    });
    const reader = child.stderr.getReader();
    const said = Buffer.from((await reader.read()).value ?? []).toString();
    expect(said).toMatch(/^spear: task_\w+ waits/);
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
  });

  test("a module is uploaded once and run", async () => {
    // (module (func (export "_start")))
    const module = Buffer.from("AGFzbQEAAAABBAFgAAADAgEABwoBBl9zdGFydAAACgQBAgAL", "base64");
    const file = join(directory, "start.wasm");
    await writeFile(file, module);
    const digest = new Bun.CryptoHasher("sha256").update(module).digest("hex");
    const ids = new Set<string>();
    for (const _ of ["first", "again"]) {
      const ended = await dev.spear(["run", "--wasm", file]);
      expect(ended).toEqual({ code: 0, stdout: "", stderr: "" });
      const { id } = await json<{ id: string }>("object", "stat", `spear-modules/${digest}`);
      ids.add(id);
    }
    expect(ids.size).toBe(1);
  });

  test("detached it prints the id, and the task is found by it", async () => {
    const { stdout } = await dev.spear(["run", "-d", "--name", "apart", "--", "echo", "later"]);
    const id = stdout.trim();
    expect(id).toMatch(/^task_[0-9A-Z]{26}$/);
    expect((await dev.spear(["task", "logs", "-f", id])).stdout).toBe("later\n");
    expect(await json<Task>("task", "get", id)).toMatchObject({
      name: "apart",
      state: "succeeded",
    });
    const events = await dev.spear(["task", "events", "-f", id]);
    expect(events.stdout).toContain("running → succeeded");
    const lines = (await dev.spear(["task", "events", id, "-o", "json"])).stdout.trim().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { to: string }).to)).toEqual([
      "pending",
      "assigned",
      "running",
      "succeeded",
    ]);
  });

  test("what the server refuses is one line and its field", async () => {
    const ended = await dev.spear(["run", "--name", "../x", "--", "true"]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toStartWith("error: spec.name: ");
  });
});

describe("task and node", () => {
  test("ls as a table, JSON and YAML", async () => {
    await run("echo", "listed");
    const table = await dev.spear(["task", "ls", "--limit", "1"]);
    expect(table.stdout.split("\n")[0]).toMatch(/^ID +NAME +STATE +TRY +EXIT +NODE/);
    const tasks = await json<Task[]>("task", "ls", "--state", "succeeded", "--limit", "2");
    expect(tasks[0]?.state).toBe("succeeded");
    expect(tasks.length).toBeLessThanOrEqual(2);
    const yaml = await dev.spear(["task", "ls", "--limit", "1", "-o", "yaml"]);
    expect((parse(yaml.stdout) as Task[])[0]?.id).toStartWith("task_");
  });

  test("kill ends a task", async () => {
    const id = (await dev.spear(["run", "-d", "--", "sleep", "27182.8"])).stdout.trim();
    await dev.spear(["task", "kill", id]);
    await dev.spear(["task", "logs", "-f", id]);
    expect((await json<Task>("task", "get", id)).state).toBe("cancelled");
    expect(processesWith("sleep 27182.8").size).toBe(0);
  });

  test("logs by stream and tail", async () => {
    const id = (
      await dev.spear(["run", "-d", "--", "sh", "-c", "echo 12345; echo err >&2"])
    ).stdout.trim();
    await dev.spear(["task", "logs", "-f", id]);
    expect(await dev.spear(["task", "logs", "--stream", "stderr", id])).toMatchObject({
      stdout: "",
      stderr: "err\n",
    });
    expect((await dev.spear(["task", "logs", "--tail", "3", id])).stdout).toBe("45\n");
  });

  test("nodes are shown, drained and taken back", async () => {
    const nodes = await json<Node[]>("node", "ls");
    expect(nodes.map(({ name }) => name).toSorted()).toEqual(["node-1", "node-2"]);
    const [{ id } = { id: "" }] = nodes;
    expect((await dev.spear(["node", "get", id])).stdout).toContain("runtimes");
    expect((await dev.spear(["node", "drain", id])).stdout).toBe(`${id} is draining\n`);
    expect((await dev.spear(["node", "undrain", id])).stdout).toBe(`${id} is ready\n`);
  });

  test("what is not there is said, with exit code 1", async () => {
    const ended = await dev.spear(["task", "get", "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A"]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toStartWith("error: ");
  });
});

describe("completion", () => {
  const complete = async (...words: string[]) =>
    (await dev.spear(["complete", "--", ...words])).stdout.split("\n").slice(0, -1);

  test("offers commands, options and choices", async () => {
    expect(await complete("ta")).toEqual(["task"]);
    expect(await complete("")).not.toContain("complete");
    expect(await complete("-o", "json", "object", "g")).toEqual(["get"]);
    expect(await complete("task", "logs", "--str")).toEqual(["--stream"]);
    expect(await complete("task", "logs", "--stream", "")).toEqual(["stdout", "stderr"]);
    expect(await complete("completion", "f")).toEqual(["fish"]);
    expect(await complete("run", "--", "ta")).toEqual([]);
  });

  test("offers ids, buckets and keys of the cluster", async () => {
    const id = (await dev.spear(["run", "-d", "--", "true"])).stdout.trim();
    expect(await complete("task", "get", id.slice(0, -1))).toEqual([id]);
    expect(await complete("run", "--node", "node_")).toHaveLength(2);
    await dev.spear(["bucket", "create", "offered"]);
    await dev.spear(["object", "put", "-", "offered/dir/one"], { stdin: "1" });
    expect(await complete("object", "get", "offe")).toEqual(["offered/"]);
    expect(await complete("object", "get", "offered/")).toEqual(["offered/dir/"]);
    expect(await complete("object", "get", "offered/dir/")).toEqual(["offered/dir/one"]);
    expect(await complete("bucket", "rm", "offe")).toEqual(["offered"]);
  });

  test("offers nothing and stays silent where nobody answers", async () => {
    const ended = await dev.spear(["complete", "--", "task", "get", ""], {
      env: { SPEAR_ADDRESS: "http://127.0.0.1:1" },
    });
    expect(ended).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  test("works in bash", async () => {
    const { stdout: script } = await dev.spear(["completion", "bash"]);
    const command = spearCommand().map((word) => `'${word}'`);
    const shell = Bun.spawnSync(
      [
        "bash",
        "-c",
        `spear() { ${command.join(" ")} "$@"; }
${script}
COMP_WORDS=(spear object ge) COMP_CWORD=2; _spear; echo "$COMPREPLY"`,
      ],
      { env: environment(dev.env) },
    );
    expect(shell.stdout.toString()).toBe("get\n");
  });
});
