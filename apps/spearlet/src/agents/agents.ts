/** The node's agents: which runtimes it knows, and which of them work now. */
import type { Log } from "@spear/shared/log.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { RuntimeInfo } from "@spear/shared/node.ts";
import type { Runtime } from "@spear/shared/task.ts";
import type { Agent } from "./agent.ts";

const probeEveryMs = 5_000;

export interface AgentSetOptions {
  agents: readonly Agent[];
  /** Handles of a runtime's attempts that are known to run. */
  known: (runtime: Runtime) => string[];
  log: Log;
}

export class AgentSet implements AsyncDisposable {
  readonly #agents: readonly Agent[];
  readonly #known: AgentSetOptions["known"];
  readonly #log: Log;
  readonly #versions = new Map<Runtime, string>();
  #probing: Loop | undefined;

  constructor({ agents, known, log }: AgentSetOptions) {
    this.#agents = agents;
    this.#known = known;
    this.#log = log;
  }

  /** Probes all once, then again and again; `onChange` is called when the offer changes. */
  async start(onChange: () => void): Promise<void> {
    await this.#probe();
    this.#probing = new Loop("probe agents", probeEveryMs, this.#log, async () => {
      if (await this.#probe()) onChange();
    });
  }

  /** True if the offer changed. */
  async #probe(): Promise<boolean> {
    const changes = await Promise.all(
      this.#agents.map(async (agent) => {
        const { runtime } = agent;
        const version = await agent.probe().catch(() => undefined);
        if (version === this.#versions.get(runtime)) return false;
        if (version === undefined) {
          this.#versions.delete(runtime);
          this.#log.warn({ runtime }, "runtime is not offered any more");
        } else {
          await this.#sweep(agent);
          this.#versions.set(runtime, version);
          this.#log.info({ runtime, version }, "runtime is offered");
        }
        return true;
      }),
    );
    return changes.includes(true);
  }

  /** Removes what runs that were killed left without a trace, before anything new starts. */
  async #sweep(agent: Agent): Promise<void> {
    const { runtime } = agent;
    try {
      const strays = await agent.sweep?.(this.#known(runtime));
      if (strays !== undefined && strays > 0) {
        this.#log.warn({ runtime, strays }, "ended what no journal knows");
      }
    } catch (error) {
      this.#log.error({ err: error, runtime }, "can't look for what no journal knows");
    }
  }

  /** What works now. */
  offered(): RuntimeInfo[] {
    return [...this.#versions].map(([name, version]) => ({ name, version }));
  }

  /** The agent of a runtime that works now. */
  get(runtime: Runtime): Agent | undefined {
    return this.#versions.has(runtime) ? this.known(runtime) : undefined;
  }

  /** The agent of a runtime, whether it works now or not. */
  known(runtime: Runtime): Agent | undefined {
    return this.#agents.find((agent) => agent.runtime === runtime);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#probing?.[Symbol.asyncDispose]();
    await Promise.all(this.#agents.map((agent) => agent[Symbol.asyncDispose]()));
  }
}
