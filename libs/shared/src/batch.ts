/** Batches: work of one turn of the event loop that is cheaper done together. */

/**
 * Collects what comes within one turn of the event loop and hands it on together:
 * a lone item waits for nothing, many at once cost as much as one.
 */
export class Batch<T> {
  readonly #flush: (items: T[]) => void;
  #items: T[] = [];

  constructor(flush: (items: T[]) => void) {
    this.#flush = flush;
  }

  add(item: T): void {
    this.#items.push(item);
    if (this.#items.length > 1) return;
    setImmediate(() => {
      const items = this.#items;
      this.#items = [];
      this.#flush(items);
    });
  }
}

/** An answer, or why there is none. */
export type Answer<R> = R | Error;

/**
 * Calls made within one turn of the event loop, carried out together, at most `most`
 * at once. Each is answered for itself; what `run` throws is the answer to all of its.
 */
export class BatchedCalls<Q, R> {
  readonly #batch: Batch<{ asked: Q; answered: PromiseWithResolvers<R> }>;

  constructor(most: number, run: (asked: readonly Q[]) => Promise<readonly Answer<R>[]>) {
    this.#batch = new Batch((calls) => {
      for (let at = 0; at < calls.length; at += most) {
        const together = calls.slice(at, at + most);
        run(together.map(({ asked }) => asked)).then(
          (answers) => {
            for (const [index, { answered }] of together.entries()) {
              const answer = answers[index] ?? new Error("a call of a batch was not answered");
              if (answer instanceof Error) answered.reject(answer);
              else answered.resolve(answer);
            }
          },
          (error: unknown) => {
            for (const { answered } of together) answered.reject(error);
          },
        );
      }
    });
  }

  call(asked: Q): Promise<R> {
    const answered = Promise.withResolvers<R>();
    this.#batch.add({ asked, answered });
    return answered.promise;
  }
}
