/**
 * MockAgent: runs nothing and behaves as told, so that tests and benchmarks can
 * exercise everything around an agent. Offered only by nodes that are told to.
 */
import { systemClock } from "@spear/shared/clock.ts";
import type { Usage } from "@spear/shared/task.ts";
import type { Agent, AgentExit, AttemptContext, PreparedAttempt, RunningAttempt } from "./agent.ts";

const unused: Usage = { cpuMs: 0, maxMemoryBytes: 0 };

export class MockAgent implements Agent {
  readonly runtime = "mock";
  readonly inProcess = true;

  probe(): Promise<string> {
    return Promise.resolve("1");
  }

  prepare(context: AttemptContext): Promise<PreparedAttempt> {
    return Promise.resolve({
      start: () => Promise.resolve(start(context)),
      cleanup: () => Promise.resolve(),
    });
  }

  reap(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function start(context: AttemptContext): RunningAttempt {
  const stopped = new AbortController();
  const exit = behave(context, stopped.signal);
  return {
    pid: undefined,
    handle: "{}",
    exit,
    stop: async () => {
      stopped.abort();
      await exit;
    },
    usage: () => Promise.resolve(unused),
  };
}

async function behave(
  { spec, attempt, output }: AttemptContext,
  stopped: AbortSignal,
): Promise<AgentExit> {
  const { sleepMs = 0, print = "", exitCode = 0, hang = false, failAttempts = 0 } = spec.mock ?? {};
  if (print !== "") await output.write("stdout", Buffer.from(print));
  try {
    if (hang) await new Promise((_, reject) => stopped.addEventListener("abort", reject));
    if (sleepMs > 0) await systemClock.wait(sleepMs, stopped);
  } catch {
    return { signal: "SIGTERM", usage: unused };
  }
  return { exitCode: attempt <= failAttempts ? 1 : exitCode, usage: unused };
}
