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
