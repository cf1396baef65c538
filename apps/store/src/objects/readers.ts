/** Which objects are being read by this store; what is being read is not collected. */
import type { ObjectId } from "@spear/shared/ids.ts";

export class Readers {
  readonly #counts = new Map<ObjectId, number>();

  /** Registers a reader until the returned value is disposed. */
  enter(id: ObjectId): Disposable {
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
    let left = false;
    return {
      [Symbol.dispose]: () => {
        if (left) return;
        left = true;
        const count = (this.#counts.get(id) ?? 1) - 1;
        if (count === 0) this.#counts.delete(id);
        else this.#counts.set(id, count);
      },
    };
  }

  reads(id: ObjectId): boolean {
    return this.#counts.has(id);
  }
}
