/** Names with scores, kept in order as a sorted set of Redis keeps them: by score, then by name. */
export class Ranked<K extends string> {
  readonly #scores = new Map<K, number>();
  readonly #order: K[] = [];

  get size(): number {
    return this.#order.length;
  }

  scoreOf(name: K): number | undefined {
    return this.#scores.get(name);
  }

  /** Position of a name; undefined if it is not there. */
  rankOf(name: K): number | undefined {
    const score = this.#scores.get(name);
    return score === undefined ? undefined : this.#find(score, name);
  }

  /** `count` names from the `from`th on. */
  slice(from: number, count: number): K[] {
    return this.#order.slice(from, from + count);
  }

  add(name: K, score: number): void {
    if (this.#scores.get(name) === score) return;
    this.delete(name);
    this.#scores.set(name, score);
    this.#order.splice(this.#find(score, name), 0, name);
  }

  /** False if it was not there. */
  delete(name: K): boolean {
    const score = this.#scores.get(name);
    if (score === undefined) return false;
    this.#order.splice(this.#find(score, name), 1);
    return this.#scores.delete(name);
  }

  /** Names above (`sign` 1) or below (-1) a name that need not be there, nearest first. */
  beside(name: K | undefined, sign: 1 | -1, count: number): K[] {
    const start = sign === 1 ? -1 : this.#order.length;
    let at = start;
    if (name !== undefined) {
      const found = this.#find(0, name);
      at = sign === 1 && this.#order[found] !== name ? found - 1 : found;
    }
    const names: K[] = [];
    for (at += sign; names.length < count; at += sign) {
      const next = this.#order[at];
      if (next === undefined) break;
      names.push(next);
    }
    return names;
  }

  /** Where a name with that score is, or would be. */
  #find(score: number, name: K): number {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#order[middle] as K;
      const theirs = this.#scores.get(other) as number;
      if (theirs < score || (theirs === score && other < name)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
