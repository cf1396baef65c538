/**
 * Calls of one script on one bucket that come while an earlier one is under way
 * go to Redis together: many clients share a round trip and the start of a
 * script, as they share a sync of the disk. Each call is still a whole of its own.
 */
import { setImmediate } from "node:timers/promises";

/** Most calls of one batch, so that no script holds Redis up for long. */
const mostCalls = 64;

interface Waiting<Call, Answer> {
  readonly call: Call;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export class Batches<Call, Answer> {
  readonly #run: (key: string, calls: readonly Call[]) => Promise<readonly Answer[]>;
  readonly #queues = new Map<string, Waiting<Call, Answer>[]>();

  /** `run` makes the calls of one batch and answers them in their order. */
  constructor(run: (key: string, calls: readonly Call[]) => Promise<readonly Answer[]>) {
    this.#run = run;
  }

  /** Makes a call together with others on the same key. */
  call(key: string, call: Call): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const queue = this.#queues.get(key);
    if (queue !== undefined) queue.push({ call, resolve, reject });
    else {
      const begun = [{ call, resolve, reject }];
      this.#queues.set(key, begun);
      void this.#drain(key, begun);
    }
    return promise;
  }

  async #drain(key: string, queue: Waiting<Call, Answer>[]): Promise<void> {
    // What this turn of the event loop still brings comes along.
    await setImmediate();
    while (queue.length > 0) {
      const batch = queue.splice(0, mostCalls);
      try {
        const answers = await this.#run(
          key,
          batch.map(({ call }) => call),
        );
        for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as Answer);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#queues.delete(key);
  }
}
