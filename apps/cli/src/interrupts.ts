/** Ctrl-C and its kin: the first is ours to act on, the second ends us at once. */
import { constants } from "node:os";

/** `timeout`, npm and others send a signal twice, to us and to our group: that is one wish. */
const sameWishMs = 500;
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Interrupts implements Disposable {
  /** The first signal that came. */
  first: NodeJS.Signals | undefined;
  #at = 0;
  readonly #handler: (signal: NodeJS.Signals) => void;

  /** `act` is called for the first signal; `last` before the second ends us. */
  constructor(act: (signal: NodeJS.Signals) => void, last?: () => void) {
    this.#handler = (signal) => {
      if (this.first !== undefined) {
        if (performance.now() - this.#at < sameWishMs) return;
        last?.();
        process.exit(128 + constants.signals[signal]);
      }
      this.first = signal;
      this.#at = performance.now();
      act(signal);
    };
    for (const name of signals) process.on(name, this.#handler);
  }

  [Symbol.dispose](): void {
    for (const name of signals) process.off(name, this.#handler);
  }
}
