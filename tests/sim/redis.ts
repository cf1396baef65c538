/**
 * The simulated way to Redis: commands take time, arrive in the order in which a
 * process sent them, and fail while Redis is away; an answer may be lost after the
 * command was carried out. The store behind is the memory record store.
 */
import type { Event } from "@spear/shared/task.ts";
import { Checker } from "./checker.ts";
import { MemoryNodes } from "./memory-nodes.ts";
import { MemoryTasks } from "./memory-tasks.ts";
import { type Bug, MemoryState } from "./memory.ts";
import type { Process, World } from "./world.ts";

const timeoutMs = 400;

/** What ioredis says when a command was not answered. */
const timedOut = () => new Error("Command timed out");

export class SimRedis {
  readonly world: World;
  readonly state: MemoryState;
  readonly tasks: MemoryTasks;
  readonly nodes: MemoryNodes;
  readonly checker: Checker;
  awayUntilMs = 0;
  /** Chance that an answer is lost. */
  lossy = 0;
  /** Called once, with the next node that is given up. */
  onLoss: (() => void) | undefined;
  readonly #listeners = new Set<(event: Event) => void>();
  /** When the last command of a process arrives, and its last answer. */
  readonly #lastArrival = new Map<Process, number>();
  readonly #lastAnswer = new Map<Process, number>();

  constructor(world: World, bug: Bug | undefined) {
    this.world = world;
    this.state = new MemoryState(() => world.nowMs, bug);
    this.tasks = new MemoryTasks(this.state);
    this.nodes = new MemoryNodes(this.state);
    this.checker = new Checker(this.state, this.tasks, this.nodes, world);
    this.state.onEvent = (event) => {
      this.checker.onEvent(event);
      for (const listener of this.#listeners) listener(event);
      if (event.kind === "node.state" && event.to === "down") {
        this.onLoss?.();
        this.onLoss = undefined;
      }
    };
  }

  get away(): boolean {
    return this.awayUntilMs > this.world.nowMs;
  }

  /** A store's methods as that process calls them. */
  remote<T extends object>(process: Process, store: T): T {
    return new Proxy(store, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name);
        if (typeof method !== "function") return method;
        return (...args: unknown[]) =>
          this.#call(process, () => {
            this.checker.before(String(name), args);
            const answer = Reflect.apply(method, target, args) as Promise<unknown>;
            return answer.then((value) => {
              this.checker.after(String(name), args, value);
              return value;
            });
          });
      },
    });
  }

  #call(process: Process, command: () => Promise<unknown>): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const arrives = this.#inOrder(this.#lastArrival, process);
    // The command may be carried out although its sender ends meanwhile.
    const { life } = process;
    this.world.after(arrives - this.world.nowMs, undefined, () => {
      if (this.away) {
        process.after(timeoutMs, () => reject(timedOut()));
        return;
      }
      void command().then((value) => {
        if (process.life !== life) return;
        if (this.world.random.chance(this.lossy)) {
          process.after(timeoutMs, () => reject(timedOut()));
          return;
        }
        const answered = this.#inOrder(this.#lastAnswer, process);
        process.after(answered - this.world.nowMs, () => resolve(value));
      });
    });
    return promise;
  }

  #inOrder(last: Map<Process, number>, process: Process): number {
    const { random, nowMs } = this.world;
    const at = Math.max(
      last.get(process) ?? 0,
      nowMs + random.next() * (random.chance(0.02) ? 20 : 1),
    );
    last.set(process, at);
    return at;
  }

  /** Reads the event stream for a process, from now on, in order and without a gap. */
  follow(process: Process, listener: (event: Event) => void): () => void {
    let unread: Event[] = [];
    const read = (event: Event) => {
      if (unread.push(event) > 1) return;
      const backMs = Math.max(0, this.awayUntilMs - this.world.nowMs);
      process.after(backMs + this.world.random.next() * 2, () => {
        const all = unread;
        unread = [];
        for (const one of all) listener(one);
      });
    };
    this.#listeners.add(read);
    return () => this.#listeners.delete(read);
  }
}
