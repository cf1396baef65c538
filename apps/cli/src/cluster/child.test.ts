import { afterEach, describe, expect, test } from "bun:test";
import { Child, type ChildOptions } from "./child.ts";

let child: Child | undefined;
afterEach(() => child?.stop());

const readyLine = '{"ready":true}';
function make(script: string, options: Partial<ChildOptions> = {}): { troubles: string[] } {
  const troubles: string[] = [];
  child = new Child({
    name: "it",
    command: () => ["sh", "-c", script],
    env: process.env,
    cwd: "/",
    graceMs: 5_000,
    onLine: () => undefined,
    onTrouble: (message) => troubles.push(message),
    ready: async (_pid, line) => void (await line),
    ...options,
  });
  return { troubles };
}

/** Waits for a condition on what was said. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(5);
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe("a child process", () => {
  test("is ready when it says so; its lines come with where it stands", async () => {
    const lines: string[] = [];
    make(`echo early >&2; echo '${readyLine}'; read -r x; echo late >&2`, {
      onLine: (line, phase) => lines.push(`${phase}: ${line}`),
    });
    await child?.start();
    await child?.stop();
    expect(lines).toEqual(["starting: early"]);
  });

  test("that does not start says why", () => {
    make("echo 'error: the port is taken' >&2; echo '  take another' >&2; exit 1");
    expect(child?.start()).rejects.toMatchObject({
      code: "unavailable",
      message: "it did not start: the port is taken",
      help: "take another",
    });
  });

  test("that ends without a word is told by its exit code", () => {
    make("exit 3");
    expect(child?.start()).rejects.toThrow("it did not start: it ended with code 3");
  });

  test("is started again when it dies, and again", async () => {
    const { troubles } = make(`echo '${readyLine}'; read -r x`);
    await child?.start();
    const first = child?.pid ?? 0;
    process.kill(first, "SIGKILL");
    await until(() => troubles.includes("runs again"));
    process.kill(child?.pid ?? 0, "SIGKILL");
    await until(() => troubles.filter((said) => said === "runs again").length === 2);
    expect(troubles[0]).toBe("was ended by SIGKILL; starting it again in 200 ms");
    expect(troubles[2]).toBe("was ended by SIGKILL; starting it again in 400 ms");
    expect(child?.pid).not.toBe(first);
  });

  test("ends when it is stopped, by force if it must", async () => {
    make(`trap '' TERM; echo '${readyLine}'; while :; do read -r x; done`, { graceMs: 50 });
    await child?.start();
    const pid = child?.pid ?? 0;
    await child?.stop();
    expect(alive(pid)).toBe(false);
  });

  test("that is stopped is not started again", async () => {
    const { troubles } = make(`echo '${readyLine}'; read -r x`);
    await child?.start();
    await child?.stop();
    expect(troubles).toEqual([]);
  });
});
