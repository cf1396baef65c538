/** The greatest of many numbers that change one at a time: read in one step, changed in log n. */
export class Tournament {
  /** Number of leaves in the tree: a power of two. */
  readonly #width: number;
  readonly #scores: Float64Array;
  /** Leaf that wins below each inner node; node 1 is the root, 2i and 2i+1 are below i. */
  readonly #winners: Int32Array;

  /** A score of -Infinity never wins. */
  constructor(scores: readonly number[]) {
    let width = 2;
    while (width < scores.length) width *= 2;
    this.#width = width;
    this.#scores = new Float64Array(width).fill(Number.NEGATIVE_INFINITY);
    this.#scores.set(scores);
    this.#winners = new Int32Array(width);
    for (let at = width - 1; at >= 1; at--) this.#winners[at] = this.#winnerAt(at);
  }

  scoreOf(leaf: number): number {
    return this.#scores[leaf] ?? Number.NEGATIVE_INFINITY;
  }

  /** The leaf with the greatest score, of equal ones the first; undefined if none has one. */
  get best(): number | undefined {
    const leaf = this.#winners[1] ?? 0;
    return this.scoreOf(leaf) === Number.NEGATIVE_INFINITY ? undefined : leaf;
  }

  set(leaf: number, score: number): void {
    if (this.#scores[leaf] === score) return;
    this.#scores[leaf] = score;
    for (let at = (leaf + this.#width) >> 1; at >= 1; at >>= 1) {
      this.#winners[at] = this.#winnerAt(at);
    }
  }

  #winnerAt(at: number): number {
    const [left, right] = [this.#leafBelow(2 * at), this.#leafBelow(2 * at + 1)];
    return this.scoreOf(right) > this.scoreOf(left) ? right : left;
  }

  #leafBelow(at: number): number {
    return at >= this.#width ? at - this.#width : (this.#winners[at] ?? 0);
  }
}
