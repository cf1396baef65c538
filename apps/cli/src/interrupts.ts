/** Ctrl-C and its kin: the first is ours to act on, the second ends us at once. */
import { constants } from "node:os";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export class Interrupts implements Disposable {
  /** The first signal that came. */
  first: NodeJS.Signals | undefined;
  readonly #handler: (signal: NodeJS.Signals) => void;

  /** `act` is called once, for the first signal. */
  constructor(act: (signal: NodeJS.Signals) => void) {
    this.#handler = (signal) => {
      if (this.first !== undefined) process.exit(128 + constants.signals[signal]);
      this.first = signal;
      act(signal);
    };
    for (const name of signals) process.on(name, this.#handler);
  }

  [Symbol.dispose](): void {
    for (const name of signals) process.off(name, this.#handler);
  }
}
