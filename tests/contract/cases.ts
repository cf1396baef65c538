/**
 * What the tables of operations share: one case for each operation, run against
 * one cluster in which a task has ended and another does not end by itself.
 */
import { World } from "./world.ts";

export class Fixture implements AsyncDisposable {
  readonly world: World;
  /** A process that wrote "out" and "err" and ended with 0. */
  readonly finished: string;
  /** A mock that hangs. */
  readonly running: string;
  /** The node of both. */
  readonly node: string;

  private constructor(world: World, finished: string, running: string, node: string) {
    this.world = world;
    this.finished = finished;
    this.running = running;
    this.node = node;
  }

  static async start(): Promise<Fixture> {
    const world = await World.start();
    const command = ["sh", "-c", "echo out; echo err >&2"];
    const finished = await world.submit({ process: { command } });
    const running = await world.submit({ mock: { hang: true } });
    await world.reaches(finished, "succeeded");
    const { nodeId } = await world.reaches(running, "running");
    return new Fixture(world, finished, running, nodeId as string);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

/** Operation → what must hold of it. */
export type Cases = Record<string, (fixture: Fixture) => Promise<void>>;
