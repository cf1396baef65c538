/**
 * What this node need not fetch, told to SMS so that tasks are placed where their inputs
 * are. The names are a hint, and few: the largest objects of the cache, and the images
 * and modules that were used last. They are told when they change, and now and then.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { TaskSpec } from "@spear/shared/task.ts";

const mostObjects = 128;
const mostRuntimes = 64;
/** All names together. */
const mostBytes = 16 << 10;
/** SMS may have lost what it was told: it is told again after this long. */
const againMs = 15_000;

export class CachedNames {
  readonly #objects: (most: number) => string[];
  readonly #clock: Clock;
  /** Images and modules, the last used last. */
  readonly #used = new Set<string>();
  #said = "";
  #saidMs = Number.NEGATIVE_INFINITY;

  /** `objects`: names of cached objects, the most worth first. */
  constructor(objects: (most: number) => string[], clock: Clock) {
    this.#objects = objects;
    this.#clock = clock;
  }

  /** A task was made ready here. */
  prepared({ docker, wasm }: TaskSpec): void {
    for (const name of [docker?.image, wasm?.module]) {
      if (name === undefined) continue;
      this.#used.delete(name);
      this.#used.add(name);
    }
    for (const name of this.#used) {
      if (this.#used.size <= mostRuntimes) break;
      this.#used.delete(name);
    }
  }

  /** The names, if they are to be told now. */
  news(): string[] | undefined {
    const names: string[] = [];
    let bytes = 0;
    for (const name of [...[...this.#used].toReversed(), ...this.#objects(mostObjects)]) {
      bytes += Buffer.byteLength(name);
      if (bytes > mostBytes) break;
      names.push(name);
    }
    const text = names.join("\n");
    const nowMs = this.#clock.nowMs();
    if (text === this.#said && nowMs < this.#saidMs + againMs) return undefined;
    this.#said = text;
    this.#saidMs = nowMs;
    return names;
  }
}
