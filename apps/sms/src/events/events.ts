/**
 * The event log: one reader of the Redis stream per SMS, a ring of the newest
 * events in memory, and any number of followers that read from the ring, or from
 * the stream where they are further behind. A slow follower costs no memory.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import type { Event } from "@spear/shared/task.ts";
import type { Redis } from "ioredis";
import { eventsOf, type StreamEntry } from "../tasks/record.ts";

const ringSize = 20_000;
const pageSize = 1_000;
/** Entries read at once; each has the events of one script, some hundreds at most. */
const mostEntries = 250;

export class EventLog implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #reader: Redis;
  readonly #keys: Keys;
  readonly #log: Log;
  readonly #listeners = new Set<(event: Event) => void>();
  readonly #abort = new AbortController();
  #ring: Event[] = [];
  #last = 0;
  /** Counts how often the events began anew. */
  #life = 0;
  #waiters: (() => void)[] = [];
  #done: Promise<void> = Promise.resolve();

  /** `reader` blocks and is used by nothing else; both are closed by their owner. */
  constructor(redis: Redis, reader: Redis, keys: Keys, log: Log) {
    this.#redis = redis;
    this.#reader = reader;
    this.#keys = keys;
    this.#log = log;
  }

  /** Starts reading behind the newest event. */
  async start(): Promise<void> {
    this.#last = Number((await this.#redis.get(this.#keys.seq)) ?? 0);
    this.#done = this.#read();
  }

  /** Sequence number of the newest event that was read. */
  get last(): number {
    return this.#last;
  }

  /** Calls `listener` for every event from now on; returns how to stop it. */
  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #read(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        const streams = await this.#reader.xread(
          "COUNT", mostEntries, "BLOCK", 5_000, "STREAMS", this.#keys.events, `${this.#last}-0`,
        ); // prettier-ignore
        if (streams === null) {
          await this.#checkCounter();
          continue;
        }
        for (const entry of streams[0]?.[1] ?? []) {
          for (const event of eventsOf(entry)) this.#take(event);
        }
        for (const wake of this.#waiters.splice(0)) wake();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#log.warn({ err: error }, "reading events failed");
        await Bun.sleep(200);
      }
    }
  }

  /** A counter below what was read means that Redis lost its data. */
  async #checkCounter(): Promise<void> {
    const now = Number((await this.#redis.get(this.#keys.seq)) ?? 0);
    if (now >= this.#last) return;
    this.#log.error({ had: this.#last, has: now }, "redis has lost events");
    this.beginAnew();
  }

  /** The events that there were are gone: those that follow are told, and new ones count from 1. */
  beginAnew(): void {
    this.#life++;
    this.#last = 0;
    this.#ring = [];
    // What it waits for would be skipped by the number that it waits behind.
    this.#reader.disconnect(true);
    for (const wake of this.#waiters.splice(0)) wake();
  }

  #take(event: Event): void {
    this.#last = event.seq;
    this.#ring.push(event);
    if (this.#ring.length >= ringSize * 2) this.#ring = this.#ring.slice(-ringSize);
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error({ err: error }, "an event listener threw");
      }
    }
  }

  /** A bounded number of events behind `seq`, oldest first. Throws `events_trimmed` where some are gone. */
  async since(seq: number): Promise<Event[]> {
    const first = this.#ring[0]?.seq;
    if (first !== undefined && seq >= first - 1) {
      const from = Math.max(0, seq - first + 1);
      // Sequence numbers are dense, so a position follows from the number.
      return this.#ring.slice(from, from + pageSize);
    }
    const entries = (await this.#redis.xrange(
      this.#keys.events, `(${seq}-0`, "+", "COUNT", mostEntries,
    )) as StreamEntry[]; // prettier-ignore
    const events = entries.flatMap(eventsOf).filter((event) => event.seq > seq);
    if (events[0] !== undefined && events[0].seq > seq + 1) {
      throw new Fault("events_trimmed", `the oldest event kept is ${events[0].seq}`, {
        field: "after",
        help: `list what there is now, then follow from ${events[0].seq - 1}`,
      });
    }
    return events;
  }

  /** Events behind `after` that `wanted` lets through, then live ones, until the signal. */
  async *follow(
    after: number | undefined,
    wanted: (event: Event) => boolean,
    signal: AbortSignal,
  ): AsyncGenerator<Event> {
    let seq = after ?? this.#last;
    const life = this.#life;
    // Another replica may be ahead of this one, but none is ahead of Redis.
    if (seq > this.#last && seq > Number((await this.#redis.get(this.#keys.seq)) ?? 0))
      throw eventsGone(seq);
    while (!signal.aborted && !this.#abort.signal.aborted) {
      if (life !== this.#life) throw eventsGone(seq);
      const events = await this.since(seq);
      for (const event of events) {
        seq = event.seq;
        if (wanted(event)) yield event;
      }
      if (events.length === 0 && seq >= this.#last) await this.#changed(signal);
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#waiters.push(done);
      signal.addEventListener("abort", done, { once: true });
      if (signal.aborted || this.#abort.signal.aborted) done();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    for (const wake of this.#waiters.splice(0)) wake();
    this.#reader.disconnect();
    await this.#done;
  }
}

function eventsGone(seq: number): Fault {
  return new Fault("events_trimmed", `there is no event ${seq}: Redis has lost its data`, {
    field: "after",
    help: "list what there is now, then follow from 0",
  });
}
