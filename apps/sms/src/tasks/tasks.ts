/**
 * Tasks as clients see them: submit, read, list, cancel. One service under both
 * transports; a submit that was answered is in the record and not lost (T1).
 */
import { Fault, maxFieldErrors } from "@spear/shared/fault.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { type IdSource, isId, jobOfOne, type TaskId } from "@spear/shared/ids.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { TaskState } from "@spear/shared/state.ts";
import { checkTaskSpec, type Event, type Task, type TaskSpec } from "@spear/shared/task.ts";
import type { Dispatch } from "../scheduler/dispatch.ts";
import { demandOf } from "../scheduler/place.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import { newTask, type Parent, type Submitted } from "./record.ts";
import type { RecordStore } from "./store.ts";

export interface TaskFilter {
  states: readonly TaskState[];
  nodeId?: string;
  runtime?: string;
  name?: string;
  labels: Readonly<Record<string, string>>;
  pageSize: number;
  pageToken?: string;
}

/** Records looked at for one page at most, so that a rare filter can't hold a replica up. */
const scanLimit = 10_000;
const scanPage = 500;

/** What can be wrong with an item of a bulk submit never stops the others' validation. */
export const maxBulk = 10_000;

export class Tasks {
  readonly #records: RecordStore;
  readonly #scheduler: Scheduler;
  readonly #dispatcher: Dispatch;
  readonly #clock: Clock;
  readonly #ids: IdSource;

  constructor(deps: {
    records: RecordStore;
    scheduler: Scheduler;
    dispatcher: Dispatch;
    clock: Clock;
    ids: IdSource;
  }) {
    this.#records = deps.records;
    this.#scheduler = deps.scheduler;
    this.#dispatcher = deps.dispatcher;
    this.#clock = deps.clock;
    this.#ids = deps.ids;
  }

  /**
   * Accepts a task, under an id that its caller made or a new one; what is there under that
   * id or key already is answered. Throws `invalid_argument` and stores nothing, or
   * `unavailable`; with a parent also `stale_attempt` and `too_many_requests`.
   */
  async submit(
    value: unknown,
    idempotencyKey: string | undefined,
    parent?: Parent,
    id?: TaskId,
  ): Promise<Task> {
    const spec = this.check(value, "spec");
    const submitted = await this.#accept(spec, idempotencyKey, parent, id);
    if (!submitted.created) return this.get(submitted.id);
    return newTask(submitted, spec, parent);
  }

  /** Checks a spec whole, conditions included. */
  check(value: unknown, root: string): TaskSpec {
    const spec = checkTaskSpec(value, root);
    demandOf(spec, root);
    return spec;
  }

  /** Writes the record, placed where there is room, and sends it on its way. */
  async #accept(
    spec: TaskSpec,
    idempotencyKey: string | undefined,
    parent?: Parent,
    id: TaskId = this.#ids.next("task"),
  ): Promise<Submitted> {
    if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,256}$/.test(idempotencyKey)) {
      throw new Fault("invalid_argument", "idempotencyKey: must be 1–256 printable characters", {
        field: "idempotencyKey",
      });
    }
    const nodeId =
      spec.delayMs === undefined || spec.delayMs === 0 ? this.#scheduler.propose(spec) : undefined;
    try {
      const submitted = await this.#records.submit(
        {
          id,
          jobId: jobOfOne(id),
          spec,
          idempotencyKey,
          nodeId,
          ...(parent === undefined ? {} : { parent }),
        },
        this.#clock.nowMs(),
      );
      if (submitted.nodeId !== undefined) {
        this.#dispatcher.send(submitted.nodeId, { taskId: id, attempt: submitted.attempt, spec });
      } else {
        if (nodeId !== undefined) this.#scheduler.withdrawProposal(nodeId);
        if (submitted.created) this.#scheduler.wake();
      }
      return submitted;
    } catch (error) {
      if (nodeId !== undefined) this.#scheduler.withdrawProposal(nodeId);
      throw redisFault(error);
    }
  }

  /**
   * Accepts many: all are checked before any is stored. Answers with their ids, in order.
   * Throws `invalid_argument` naming every bad one, up to a hundred.
   */
  async submitMany(values: readonly unknown[]): Promise<TaskId[]> {
    if (values.length === 0 || values.length > maxBulk) {
      throw new Fault("invalid_argument", `specs: give 1 to ${maxBulk}, not ${values.length}`, {
        field: "specs",
      });
    }
    const specs = this.#checkAll(values);
    const ids: TaskId[] = [];
    for (let at = 0; at < specs.length; at += scanPage) {
      const batch = specs.slice(at, at + scanPage).map((spec) => this.#accept(spec, undefined));
      for (const { id } of await Promise.all(batch)) ids.push(id);
    }
    return ids;
  }

  /** All specs; or a fault with what is wrong with each. */
  #checkAll(values: readonly unknown[]): TaskSpec[] {
    const specs: TaskSpec[] = [];
    const faults: Fault[] = [];
    for (const [index, value] of values.entries()) {
      try {
        specs.push(this.check(value, `specs.${index}`));
      } catch (error) {
        faults.push(Fault.from(error));
        if (faults.length === maxFieldErrors) break;
      }
    }
    const [first] = faults;
    if (first === undefined) return specs;
    const errors = faults.flatMap(({ errors: inner, field = "", message }) =>
      inner.length > 0 ? inner : [{ field, message: message.replace(/^specs\.\S*: /, "") }],
    );
    throw new Fault(first.code, first.message, {
      ...(first.field === undefined ? {} : { field: first.field }),
      ...(first.help === undefined ? {} : { help: first.help }),
      ...(errors.length > 1 ? { errors: errors.slice(0, maxFieldErrors) } : {}),
    });
  }

  /** Throws `task_not_found`. */
  async get(id: TaskId): Promise<Task> {
    const record = await this.#read(() => this.#records.get(id));
    if (record === undefined) throw taskNotFound(id);
    return record.task;
  }

  /** All events of a task, oldest first. Throws `task_not_found`. */
  async events(id: TaskId): Promise<Event[]> {
    const events = await this.#read(() => this.#records.history(id));
    if (events === undefined) throw taskNotFound(id);
    return events;
  }

  /** Newest first. The token is the last id looked at. */
  async list(filter: TaskFilter): Promise<{ tasks: Task[]; nextPageToken?: string }> {
    if (filter.pageToken !== undefined && !isId("task", filter.pageToken)) {
      throw new Fault("invalid_argument", "pageToken: is not a token of this list", {
        field: "pageToken",
      });
    }
    const state = filter.states.length === 1 ? filter.states[0] : undefined;
    const tasks: Task[] = [];
    let before: string | undefined = filter.pageToken;
    for (let scanned = 0; scanned < scanLimit;) {
      const ids = await this.#read(() => this.#records.idsBefore(state, before, scanPage));
      const page = await this.#read(() => this.#records.getMany(ids));
      for (const { task } of page) {
        before = task.id;
        if (matches(task, filter)) tasks.push(task);
        if (tasks.length === filter.pageSize) return { tasks, nextPageToken: task.id };
      }
      if (ids.length < scanPage) return { tasks };
      before = ids.at(-1) as string;
      scanned += ids.length;
    }
    return { tasks, ...(before === undefined ? {} : { nextPageToken: before }) };
  }

  /** Asks a task to end; also fine for one that has ended. Throws `task_not_found`. */
  async cancel(id: TaskId): Promise<Task> {
    const { code } = await this.#read(() => this.#records.cancel(id, this.#clock.nowMs()));
    if (code === "missing") throw taskNotFound(id);
    return this.get(id);
  }

  async #read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisFault(error);
    }
  }
}

/** There is no such task. */
export function taskNotFound(id: TaskId): Fault {
  return new Fault("task_not_found", `there is no task ${id}`, {
    field: "taskId",
    help: "list tasks with: spear task ls",
  });
}

function matches(task: Task, filter: TaskFilter): boolean {
  return (
    (filter.states.length === 0 || filter.states.includes(task.state)) &&
    (filter.nodeId === undefined || task.nodeId === filter.nodeId) &&
    (filter.runtime === undefined || task.runtime === filter.runtime) &&
    (filter.name === undefined || task.name === filter.name) &&
    Object.entries(filter.labels).every(([name, value]) => task.spec.labels?.[name] === value)
  );
}
