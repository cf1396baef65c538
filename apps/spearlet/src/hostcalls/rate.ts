/** A quota over time: so many at once, and as many again as time passes. */
import { Fault } from "@spear/shared/fault.ts";

export class Rate {
  readonly #what: string;
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #atMs = performance.now();

  constructor(what: string, perSecond: number, burst: number) {
    this.#what = what;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
  }

  /** Takes one. Throws `too_many_requests`. */
  take(): void {
    const nowMs = performance.now();
    const grown = ((nowMs - this.#atMs) * this.#perSecond) / 1000;
    this.#left = Math.min(this.#burst, this.#left + grown);
    this.#atMs = nowMs;
    if (this.#left < 1) {
      throw new Fault("too_many_requests", `at most ${this.#perSecond} ${this.#what} a second`, {
        help: "wait and try again",
      });
    }
    this.#left -= 1;
  }
}
