/**
 * The warden: a small process of its own that notices the SPEARlet's death,
 * however it died, and ends what it ran, so that nothing runs on unwatched until
 * the node is started again.
 */
import type { NodeId } from "@spear/shared/ids.ts";
import type { Lanes } from "./lanes.ts";
import script from "./warden.sh" with { type: "text" };

export class Warden implements Disposable {
  readonly #process;

  constructor(nodeId: NodeId, lanes: Lanes | undefined) {
    const command = ["/bin/sh", "-c", script, "spear-warden", nodeId, ...(lanes?.dirs ?? [])];
    this.#process = Bun.spawn(command, {
      cwd: "/",
      env: { PATH: "/usr/bin:/bin" },
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
      detached: true,
    });
    this.#process.unref();
  }

  /** The SPEARlet ends in order and has ended everything itself. */
  [Symbol.dispose](): void {
    this.#process.kill("SIGKILL");
  }
}
