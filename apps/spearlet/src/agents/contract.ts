/**
 * What every agent must do, as one suite. Each agent's test gives a fixture that
 * says how its kind of command behaves in a certain way; behaviour that a kind of
 * command can't have is left out there, and the tests that need it with it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds, type NodeId } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { Agent, AgentExit, AttemptContext, OutputSink, RunningAttempt } from "./agent.ts";

const MIB = 1024 * 1024;

/** How a command is to behave. */
export type Behaviour =
  /** Ends with this code. */
  | { does: "exit"; code: number }
  /** Prints one text on each stream and ends. */
  | { does: "print"; stdout: string; stderr: string }
  /** Prints on what it opens as /dev/stdout and /dev/stderr. */
  | { does: "print-by-name"; stdout: string; stderr: string }
  /** Prints what comes on standard input until it ends. */
  | { does: "copy" }
  /** Prints its environment, NAME=value on each line. */
  | { does: "environment" }
  /** Prints "ready" and runs until it is ended. */
  | { does: "hang" }
  /** The same, and SIGTERM does nothing to it. */
  | { does: "ignore-term" }
  /** Prints "ready"; on SIGTERM prints "heeded" and ends with code 3. */
  | { does: "heed-term" }
  /** Ends by this signal. */
  | { does: "die"; signal: "SIGSEGV" }
  /** Starts one child in its own session and one in another, prints "ready" and ends with 0. */
  | { does: "leave-children" }
  /** The same, but runs until it is ended. */
  | { does: "hang-with-children" }
  /** Prints this many zero bytes. */
  | { does: "flood"; bytes: number }
  /** Prints every byte value once, in order. */
  | { does: "all-bytes" }
  /** Writes what is in in.txt twice to out.txt. */
  | { does: "double-file" }
  /** Holds this much memory for a while. */
  | { does: "allocate"; bytes: number }
  /** Starts processes that start processes. */
  | { does: "fork-bomb" };

export interface AgentFixture {
  readonly name: string;
  /** What this kind of command can do. */
  readonly can: readonly Behaviour["does"][];
  open(): Promise<OpenFixture>;
}

export interface OpenFixture extends AsyncDisposable {
  readonly nodeId: NodeId;
  /** An agent of the same node; making a second one is the node's restart. */
  makeAgent(): Agent;
  /** The task that behaves so. */
  spec(behaviour: Behaviour): TaskSpec;
  /** How many processes of an attempt run, found without the agent. */
  countAlive(context: AttemptContext): Promise<number>;
}

/** The behaviours in the language of a POSIX shell. */
export function shellScript(behaviour: Behaviour): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const children = "setsid sleep 1000 & sleep 1000 & echo ready";
  switch (behaviour.does) {
    case "exit":
      return `exit ${behaviour.code}`;
    case "print":
      return `printf %s ${quoted(behaviour.stdout)}; printf %s ${quoted(behaviour.stderr)} >&2`;
    case "print-by-name":
      return `printf %s ${quoted(behaviour.stdout)} >/dev/stdout; printf %s ${quoted(behaviour.stderr)} >/dev/stderr`;
    case "copy":
      return "cat";
    case "environment":
      return "env";
    case "hang":
      return "echo ready; exec sleep 1000";
    case "ignore-term":
      return "trap '' TERM; echo ready; sleep 1000";
    case "heed-term":
      return "trap 'echo heeded; exit 3' TERM; echo ready; sleep 1000 & wait";
    case "die":
      return `kill -${behaviour.signal.slice("SIG".length)} $$`;
    case "leave-children":
      return children;
    case "hang-with-children":
      return `${children}; wait`;
    case "flood":
      return `head -c ${behaviour.bytes} /dev/zero`;
    case "all-bytes": {
      const escapes = Array.from(
        { length: 256 },
        (_, byte) => `\\${byte.toString(8).padStart(3, "0")}`,
      );
      return `printf '${escapes.join("")}'`;
    }
    case "double-file":
      return "cat in.txt in.txt >out.txt";
    case "allocate":
      return `head -c ${behaviour.bytes * 2} /dev/zero | tail -c ${behaviour.bytes}`;
    case "fork-bomb":
      return "bomb() { bomb | bomb & }; echo ready; bomb; sleep 1000";
  }
}

/** Keeps the first 16 MiB of each stream, and how long they were. */
class Sink implements OutputSink {
  readonly #pieces: Record<string, Uint8Array[]> = {};
  readonly length: Record<string, number> = {};
  #changed = Promise.withResolvers<void>();

  write(stream: string, bytes: Uint8Array): Promise<void> {
    const length = (this.length[stream] ?? 0) + bytes.byteLength;
    this.length[stream] = length;
    if (length <= 16 * MIB) (this.#pieces[stream] ??= []).push(Uint8Array.from(bytes));
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    return Promise.resolve();
  }

  bytes(stream: string): Buffer {
    return Buffer.concat(this.#pieces[stream] ?? []);
  }

  text(stream: string): string {
    return this.bytes(stream).toString();
  }

  /** Resolves once standard output holds the text. */
  async holds(text: string): Promise<void> {
    while (!this.text("stdout").includes(text)) await this.#changed.promise;
  }

  /** Resolves once there is something on standard error. */
  async complains(): Promise<void> {
    while (this.length["stderr"] === undefined) await this.#changed.promise;
  }
}

/** What an agent, an image or a shell may add to an environment. */
const usualNames = new Set([
  "SPEAR_RUNTIME",
  "PATH",
  "HOME",
  "TMPDIR",
  "HOSTNAME",
  "PWD",
  "OLDPWD",
  "SHLVL",
  "_",
]);

interface Ended {
  exit: AgentExit;
  output: Sink;
  context: AttemptContext;
}

interface Left {
  context: AttemptContext;
  output: Sink;
  handle: string;
  later: Agent;
}

/** Declares the suite for one agent. */
export function describeAgent({ name, can, open }: AgentFixture): void {
  describe(`the contract of agents: ${name}`, () => {
    let fixture: OpenFixture;
    let agent: Agent;
    const workDirs: string[] = [];
    const { signal } = new AbortController();

    beforeAll(async () => {
      fixture = await open();
      agent = fixture.makeAgent();
      await agent.probe();
    });

    afterAll(async () => {
      await agent[Symbol.asyncDispose]();
      for (const dir of workDirs) await rm(dir, { recursive: true, force: true });
      await fixture[Symbol.asyncDispose]();
    });

    async function attempt(
      behaviour: Behaviour,
      options: Partial<AttemptContext> = {},
      { spec, nodeId } = fixture,
    ) {
      const workDir = await mkdtemp(join(tmpdir(), "spear-attempt-"));
      workDirs.push(workDir);
      const taskId = systemIds.next("task");
      const output = new Sink();
      const context: AttemptContext = {
        taskId,
        attempt: 1,
        spec: spec(behaviour),
        workDir,
        env: { SPEAR_TASK_ID: taskId, SPEAR_ATTEMPT: "1", SPEAR_NODE_ID: nodeId },
        stdin: new Uint8Array(),
        output,
        limits: { cpu: 0, memoryBytes: 256 * MIB, pids: undefined },
        ...options,
      };
      return { context, output };
    }

    /** Runs it to its end; nothing of it may be left then. */
    async function run(
      behaviour: Behaviour,
      options: Partial<AttemptContext> = {},
      during?: (running: RunningAttempt, output: Sink) => Promise<void>,
    ): Promise<Ended> {
      const { context, output } = await attempt(behaviour, options);
      const prepared = await agent.prepare(context, signal);
      try {
        const running = await prepared.start();
        await during?.(running, output);
        const exit = await running.exit;
        expect(await fixture.countAlive(context)).toBe(0);
        return { exit, output, context };
      } finally {
        await prepared.cleanup();
        await prepared.cleanup();
      }
    }

    /** Declares a test of what this kind of command can do. */
    const law = (
      does: Behaviour["does"],
      words: string,
      body: () => Promise<void>,
      timeoutMs?: number,
    ) => {
      if (can.includes(does)) test(words, body, timeoutMs);
    };

    law("exit", "every exit code comes back", async () => {
      for (const code of [0, 1, 7, 255]) {
        const { exit } = await run({ does: "exit", code });
        expect(exit).toMatchObject({ exitCode: code });
        expect(exit.signal).toBeUndefined();
      }
    });

    law("die", "a signal that ended the command is named", async () => {
      const { exit } = await run({ does: "die", signal: "SIGSEGV" });
      expect(exit).toMatchObject({ signal: "SIGSEGV" });
      expect(exit.exitCode).toBeUndefined();
    });

    law("print", "both streams come apart", async () => {
      const { exit, output } = await run({ does: "print", stdout: "out", stderr: "it's err" });
      expect(exit.exitCode).toBe(0);
      expect([output.text("stdout"), output.text("stderr")]).toEqual(["out", "it's err"]);
    });

    law("print-by-name", "the streams can be opened by name", async () => {
      const { output } = await run({ does: "print-by-name", stdout: "out", stderr: "err" });
      expect([output.text("stdout"), output.text("stderr")]).toEqual(["out", "err"]);
    });

    law("copy", "standard input arrives whole, and ends", async () => {
      const stdin = Buffer.from(Array.from({ length: 65_536 }, (_, index) => index % 251));
      const { output } = await run({ does: "copy" }, { stdin });
      expect(output.bytes("stdout").equals(stdin)).toBe(true);
      expect((await run({ does: "copy" })).output.length).toEqual({});
    });

    law("environment", "the environment is what was given, and nothing of the node's", async () => {
      const env = { GIVEN: "a b=c", EMPTY: "", SPEAR_ATTEMPT: "1", SPEAR_TASK_ID: "task" };
      const { output } = await run({ does: "environment" }, { env });
      const lines = output.text("stdout").trimEnd().split("\n");
      for (const [name, value] of Object.entries(env)) expect(lines).toContain(`${name}=${value}`);
      const names = lines.map((line) => line.slice(0, line.indexOf("=")));
      expect(names.filter((name) => !(name in env) && !usualNames.has(name))).toEqual([]);
    });

    law("all-bytes", "output is bytes, not text", async () => {
      const { output } = await run({ does: "all-bytes" });
      const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      expect(output.bytes("stdout").equals(all)).toBe(true);
    });

    law("flood", "more than 64 MiB of output arrive to the last byte", async () => {
      const bytes = 64 * MIB + 1;
      const { exit, output } = await run({ does: "flood", bytes });
      expect(exit.exitCode).toBe(0);
      expect(output.length).toEqual({ stdout: bytes });
    });

    law("double-file", "inputs are read and outputs written in the work directory", async () => {
      const { context, output } = await attempt({ does: "double-file" });
      await writeFile(join(context.workDir, "in.txt"), "ab\n", { mode: 0o644 });
      const prepared = await agent.prepare(context, signal);
      const exit = await (await prepared.start()).exit;
      await prepared.cleanup();
      expect({ exit, stderr: output.text("stderr") }).toMatchObject({
        exit: { exitCode: 0 },
        stderr: "",
      });
      expect(await readFile(join(context.workDir, "out.txt"), "utf8")).toBe("ab\nab\n");
    });

    law("hang", "SIGTERM ends a command that does nothing about it", async () => {
      const { exit } = await run({ does: "hang" }, {}, async (running, output) => {
        await output.holds("ready");
        await running.stop(60_000);
      });
      expect(exit.exitCode).not.toBe(0);
    });

    law("hang", "a stop that comes at once is not lost", async () => {
      await run({ does: "hang" }, {}, (running) => running.stop(0));
    });

    law("hang", "a second stop can shorten the grace", async () => {
      const does = can.includes("ignore-term") ? "ignore-term" : "hang";
      await run({ does }, {}, async (running, output) => {
        await output.holds("ready");
        void running.stop(600_000);
        await running.stop(0);
      });
    });

    law("heed-term", "a command has its grace to end by itself", async () => {
      const { exit, output } = await run({ does: "heed-term" }, {}, async (running, sink) => {
        await sink.holds("ready");
        await running.stop(60_000);
      });
      expect(output.text("stdout")).toBe("ready\nheeded\n");
      expect(exit.exitCode).toBe(3);
    });

    law("ignore-term", "SIGKILL follows when the grace is over", async () => {
      const { exit } = await run({ does: "ignore-term" }, {}, async (running, output) => {
        await output.holds("ready");
        const startMs = performance.now();
        await running.stop(200);
        expect(performance.now() - startMs).toBeGreaterThanOrEqual(200);
      });
      expect(exit.exitCode).not.toBe(0);
    });

    law("leave-children", "what it leaves in the background ends with it", async () => {
      const { exit } = await run({ does: "leave-children" });
      expect(exit.exitCode).toBe(0);
    });

    law(
      "hang-with-children",
      "the whole tree ends with it, sessions of their own included",
      async () => {
        for (const graceMs of [0, 60_000]) {
          await run({ does: "hang-with-children" }, {}, async (running, output) => {
            await output.holds("ready");
            await running.stop(graceMs);
          });
        }
      },
    );

    law("allocate", "too much memory is told apart", async () => {
      const limits = { cpu: 0, memoryBytes: 32 * MIB, pids: undefined };
      const { exit } = await run({ does: "allocate", bytes: 256 * MIB }, { limits });
      expect(exit.failure?.code).toBe("out_of_memory");
      const enough = { ...limits, memoryBytes: 128 * MIB };
      const { exit: fine } = await run({ does: "allocate", bytes: 16 * MIB }, { limits: enough });
      expect(fine.failure).toBeUndefined();
      expect(fine.exitCode).toBe(0);
    });

    law("fork-bomb", "a fork bomb ends at its limit and is ended", async () => {
      const limits = { cpu: 0, memoryBytes: 256 * MIB, pids: 32 };
      await run({ does: "fork-bomb" }, { limits }, async (running, output) => {
        await output.complains();
        await running.stop(0);
      });
    });

    law("exit", "what was prepared and not started leaves nothing", async () => {
      const { context } = await attempt({ does: "exit", code: 0 });
      const prepared = await agent.prepare(context, signal);
      await prepared.cleanup();
      expect(await fixture.countAlive(context)).toBe(0);
    });

    /** A command that an agent left running, and the agent of the node's next run. */
    async function restart(check: (left: Left) => Promise<void>): Promise<void> {
      await using node = await open();
      const { context, output } = await attempt({ does: "hang" }, {}, node);
      await using earlier = node.makeAgent();
      const prepared = await earlier.prepare(context, signal);
      const { handle } = await prepared.start();
      await output.holds("ready");
      await using later = node.makeAgent();
      await check({ context, output, handle, later });
      expect(await fixture.countAlive(context)).toBe(0);
      expect(output.text("stdout")).toBe("ready\n");
      await prepared.cleanup();
    }

    law("hang", "after a restart, what an earlier run left is adopted or reaped", async () => {
      await restart(async ({ context, output, handle, later }) => {
        if (later.inProcess === true) return later.reap(handle);
        expect(await fixture.countAlive(context)).toBeGreaterThan(0);
        const kept = { stdout: output.length["stdout"] ?? 0, stderr: output.length["stderr"] ?? 0 };
        const adopted = await later.adopt?.(handle, { ...context, kept });
        await adopted?.stop(0);
        await later.reap(handle);
        await later.reap(handle);
      });
    });

    law("hang", "a sweep ends what no journal knows, and spares what one knows", async () => {
      await restart(async ({ context, handle, later }) => {
        if (later.inProcess === true) return later.reap(handle);
        if (later.sweep === undefined) return later.reap(handle);
        if (later.adopt !== undefined) {
          expect(await later.sweep([handle])).toBe(0);
          expect(await fixture.countAlive(context)).toBeGreaterThan(0);
        }
        expect(await later.sweep([])).toBeGreaterThan(0);
      });
    });
  });
}
