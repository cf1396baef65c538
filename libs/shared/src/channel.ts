/** A bounded queue between a producer and one consumer that iterates it. */
export class Channel<T> implements AsyncIterable<T> {
  readonly #bound: number;
  readonly #items: T[] = [];
  #head = 0;
  #closed = false;
  #failure: unknown;
  #readable: (() => void) | undefined;

  /** `bound`: most items held; a push beyond it is refused. */
  constructor(bound: number) {
    this.#bound = bound;
  }

  get size(): number {
    return this.#items.length - this.#head;
  }

  /** Adds an item; false if the channel is closed or full. */
  push(item: T): boolean {
    if (this.#closed || this.size >= this.#bound) return false;
    this.#items.push(item);
    this.#wake();
    return true;
  }

  /** No more items come; the consumer ends, or throws `failure`, after the last. */
  close(failure?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#failure = failure;
    this.#wake();
  }

  #wake(): void {
    this.#readable?.();
    this.#readable = undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      while (this.#head < this.#items.length) {
        const item = this.#items[this.#head++] as T;
        if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
          this.#items.splice(0, this.#head);
          this.#head = 0;
        }
        yield item;
      }
      if (this.#closed) {
        if (this.#failure !== undefined) throw this.#failure as Error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#readable = resolve;
      });
    }
  }
}
