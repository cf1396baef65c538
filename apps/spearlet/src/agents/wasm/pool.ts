/**
 * Children that wait for work: some are started before they are needed, none is
 * used twice unless its owner says so, and there are never more than `max`.
 * Whoever waits for one is served in order.
 */
import { AgentFailure } from "../agent.ts";
import { ChildProcess } from "./childprocess.ts";

export interface PoolOptions {
  /** Children kept ready. */
  idle: number;
  /** Most children at once, ready, starting and running. */
  max: number;
}

interface Waiter {
  resolve(child: ChildProcess): void;
  reject(error: Error): void;
}

export class ChildPool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #all = new Set<ChildProcess>();
  readonly #ready: ChildProcess[] = [];
  /** Used ones that may serve the same owner again, oldest first. */
  readonly #kept: { key: string; child: ChildProcess }[] = [];
  readonly #waiters: Waiter[] = [];
  #starting = 0;
  /** Somebody has asked for one: from now on some are kept ready. */
  #wanted = false;
  /** The last child that was started became ready. */
  #works = false;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** A child that is ready; one that served `key` before, if there is one. */
  async acquire(signal: AbortSignal, key?: string): Promise<ChildProcess> {
    signal.throwIfAborted();
    if (this.#closed) throw new Error("the pool is closed");
    this.#wanted = true;
    const child = this.#take(key) ?? (await this.#wait(signal));
    this.#fill();
    return child;
  }

  #take(key: string | undefined): ChildProcess | undefined {
    const at = key === undefined ? -1 : this.#kept.findLastIndex((kept) => kept.key === key);
    return at < 0 ? this.#ready.shift() : this.#kept.splice(at, 1)[0]?.child;
  }

  async #wait(signal: AbortSignal): Promise<ChildProcess> {
    const { promise, resolve, reject } = Promise.withResolvers<ChildProcess>();
    const waiter = { resolve, reject };
    const give = () => {
      const at = this.#waiters.indexOf(waiter);
      if (at < 0) return;
      this.#waiters.splice(at, 1);
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", give, { once: true });
    this.#waiters.push(waiter);
    this.#fill();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", give);
    }
  }

  /**
   * Sees to it that a child can be started, if none was yet or the last one failed.
   * Rejects if it can't.
   */
  async check(signal: AbortSignal): Promise<void> {
    if (!this.#works) this.giveBack(await this.#wait(signal));
  }

  /** Gives back a child that was acquired and not used. */
  giveBack(child: ChildProcess): void {
    this.#offer(child);
  }

  /** Keeps a used child for the same owner's next task. */
  keep(child: ChildProcess, key: string): void {
    if (this.#closed || this.#waiters.length > 0) return child.kill("SIGKILL");
    this.#kept.push({ key, child });
    if (this.#kept.length > this.#options.idle) this.#kept.shift()?.child.kill("SIGKILL");
  }

  /** Starts as many as are waited for or should be ready, within the bound. */
  #fill(): void {
    if (this.#closed) return;
    const idle = this.#wanted ? this.#options.idle : 0;
    const wanted = this.#waiters.length + idle - this.#ready.length - this.#starting;
    const room = this.#options.max - this.#all.size;
    for (let count = Math.min(wanted, room); count > 0; count--) void this.#start();
    if (room <= 0 && this.#waiters.length > 0) this.#kept.shift()?.child.kill("SIGKILL");
  }

  async #start(): Promise<void> {
    this.#starting += 1;
    let child: ChildProcess | undefined;
    try {
      child = new ChildProcess();
      this.#all.add(child);
      void this.#forget(child);
      await child.ready;
      this.#works = true;
      this.#starting -= 1;
      this.#offer(child);
    } catch (error) {
      this.#starting -= 1;
      this.#works = false;
      // One waiter hears of it; nobody waiting, the next one will try again.
      this.#waiters.shift()?.reject(
        new AgentFailure("wasm_host_failed", `the node can't start a Wasm host: ${String(error)}`, {
          nodeFault: true,
          cause: error,
        }),
      );
    }
  }

  #offer(child: ChildProcess): void {
    if (this.#closed) return child.kill("SIGKILL");
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#ready.push(child);
    else waiter.resolve(child);
  }

  /** A child that is gone makes room, wherever it was. */
  async #forget(child: ChildProcess): Promise<void> {
    await child.exited;
    this.#all.delete(child);
    const ready = this.#ready.indexOf(child);
    if (ready >= 0) this.#ready.splice(ready, 1);
    const kept = this.#kept.findIndex((one) => one.child === child);
    if (kept >= 0) this.#kept.splice(kept, 1);
    if (this.#waiters.length > 0) this.#fill();
  }

  /** Ends them all, those in use included. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error("the pool is closed"));
    for (const child of this.#all) child.kill("SIGKILL");
    await Promise.all([...this.#all].map((child) => child.exited));
  }
}
