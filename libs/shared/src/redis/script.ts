/** Lua scripts as values: sent once by their hash, typed by their wrapper. */
import type { ChainableCommander, Redis } from "ioredis";

type Argument = string | number | Buffer;
type Command = (...args: Argument[]) => unknown;

const all = new Set<Script<unknown>>();

/**
 * Makes every script known to a connection. A pipeline has the commands that
 * were known when it began, and ioredis begins them by itself.
 */
export function defineScripts(redis: Redis): void {
  for (const script of all) script.define(redis);
}

/** A script with a fixed number of keys. */
export class Script<R> {
  readonly #name: string;
  readonly #keys: number;
  readonly #lua: string;

  constructor(name: string, keys: number, lua: string) {
    this.#name = `spear_${name}`;
    this.#keys = keys;
    this.#lua = lua;
    all.add(this);
  }

  /** Makes it known to a connection. */
  define(redis: Redis): void {
    if (this.#name in redis) return;
    redis.defineCommand(this.#name, { numberOfKeys: this.#keys, lua: this.#lua });
  }

  #command(target: Redis | ChainableCommander, owner: Redis, suffix: "" | "Buffer" = ""): Command {
    this.define(owner);
    const command: unknown = Reflect.get(target, this.#name + suffix);
    if (typeof command !== "function") throw new TypeError(`no command ${this.#name}`);
    return command.bind(target) as Command;
  }

  /** Runs it. */
  run(redis: Redis, keys: string[], args: Argument[]): Promise<R> {
    return this.#command(redis, redis)(...keys, ...args) as Promise<R>;
  }

  /** Runs it and leaves the strings of its answer as bytes. */
  runBuffer(redis: Redis, keys: string[], args: Argument[]): Promise<R> {
    return this.#command(redis, redis, "Buffer")(...keys, ...args) as Promise<R>;
  }

  /** Adds it to a pipeline of `redis`. */
  queue(redis: Redis, pipeline: ChainableCommander, keys: string[], args: Argument[]): void {
    this.#command(pipeline, redis)(...keys, ...args);
  }
}
