/** The simulated network between processes: slow, lossy, repeating, and cut in places. */
import type { Process, World } from "./world.ts";

export class Network {
  readonly #world: World;
  readonly #drop: number;
  readonly #twice: number;
  /** Pairs that can't reach each other, and until when. */
  readonly #cuts = new Map<string, number>();
  /** Once over, nothing is lost or repeated any more. */
  calm = false;

  constructor(world: World, chances: { drop: number; twice: number }) {
    this.#world = world;
    this.#drop = chances.drop;
    this.#twice = chances.twice;
  }

  cut(a: Process, b: Process, untilMs: number): void {
    for (const pair of [`${a.name} ${b.name}`, `${b.name} ${a.name}`])
      this.#cuts.set(pair, Math.max(this.#cuts.get(pair) ?? 0, untilMs));
  }

  reaches(a: Process, b: Process): boolean {
    return (this.#cuts.get(`${a.name} ${b.name}`) ?? 0) <= this.#world.nowMs;
  }

  /** Has `work` run in the other process, if the message arrives; perhaps twice, perhaps late. */
  send(from: Process, to: Process, work: () => void): void {
    const { random } = this.#world;
    const copies = !this.calm && random.chance(this.#twice) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (!this.calm && random.chance(this.#drop)) continue;
      const delay = random.next() * (random.chance(0.05) ? 300 : 3);
      to.after(delay, () => {
        if (this.reaches(from, to)) work();
      });
    }
  }
}
