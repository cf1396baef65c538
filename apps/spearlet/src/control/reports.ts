/**
 * What the node has to say to SMS about attempts, until SMS has acknowledged it.
 * Claims live in memory: an attempt that was not granted has not started. Ends
 * are in a journal on disk first, so that neither a lost session nor a restart
 * loses one. There are never more than attempts at once: each attempt keeps its
 * slot until its report is acknowledged.
 */
import type { AttemptReport, AttemptSeal, ReportAck } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { attemptKey, type AttemptId } from "../executions/attempt.ts";
import { Journal } from "../journal.ts";

/** What a report says. */
export type ReportBody = NonNullable<AttemptReport["body"]>;
/** A report that ends the node's part in an attempt. */
export type FinalBody = Extract<ReportBody, { $case: "exit" | "refusal" }>;

/** What SMS answers: the attempt is another's now, or the report is to be made again later. */
export interface Answer {
  stale: boolean;
  later: boolean;
}

interface Pending {
  report: AttemptReport;
  resolve: (answer: Answer) => void;
  /** What the report says now, if that changes while it waits. */
  body?: () => ReportBody;
}

export class Reports implements Disposable {
  readonly #journal: Journal<AttemptReport>;
  readonly #log: Log;
  /** By report id, in the order in which they were made. */
  readonly #pending = new Map<number, Pending>();
  #send: ((report: AttemptReport) => void) | undefined;
  #lastId = 0;
  #sessions = 0;
  #session = "";

  /** Opens the journal at `path`; what an earlier run could not deliver is pending again. */
  constructor(path: string, log: Log) {
    this.#log = log;
    this.#journal = Journal.open(path);
    for (const [, report] of this.#journal.entries()) void this.#push({ report });
  }

  /** The session that is open or was the last; see AttemptClaim. */
  get session(): string {
    return this.#session;
  }

  /** Counts one more session, before its hello says what is held. */
  nextSession(incarnation: string): number {
    this.#session = `${incarnation} ${++this.#sessions}`;
    return this.#sessions;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** True if the end of the attempt is known here and SMS has not acknowledged it. */
  hasEnd(id: AttemptId): boolean {
    return this.#journal.has(attemptKey(id));
  }

  /** Attempts whose end waits for SMS. */
  ends(): AttemptId[] {
    return this.#journal
      .entries()
      .map(([, { taskId, attempt }]) => ({ taskId: taskId as TaskId, attempt }));
  }

  /**
   * Asks whether the attempt may start; waits for the answer however long SMS is
   * away. False: it is stale. Rejects with the signal's reason.
   */
  claim(id: AttemptId, signal: AbortSignal): Promise<boolean> {
    return this.#ask(id, { $case: "claim", value: { session: this.#session } }, signal);
  }

  /** Says where the attempt's output is. False: the task is no more. Waits as `claim` does. */
  seal(id: AttemptId, seal: AttemptSeal, signal: AbortSignal): Promise<boolean> {
    return this.#ask(id, { $case: "seal", value: seal }, signal);
  }

  async #ask(id: AttemptId, body: ReportBody, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const report = this.#report(id, body);
    const answer = this.#push({ report });
    const stopped = Promise.withResolvers<never>();
    const onAbort = () => {
      this.#pending.delete(report.reportId);
      stopped.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return !(await Promise.race([answer, stopped.promise])).stale;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Keeps the report and sends it until SMS has acknowledged it, over restarts. */
  async deliver(id: AttemptId, body: FinalBody): Promise<void> {
    await this.#push({ report: this.keep(id, body) });
  }

  /** Tells of an attempt, but keeps nothing: what it says is asked for anew in each session. */
  tell(id: AttemptId, body: () => ReportBody): Promise<Answer> {
    return this.#push({ report: this.#report(id, body()), body });
  }

  /** Writes the report to the journal. */
  keep(id: AttemptId, body: FinalBody): AttemptReport {
    const report = this.#report(id, body);
    try {
      this.#journal.set(attemptKey(id), report);
    } catch (error) {
      this.#log.error({ err: error, ...id }, "report is not kept on disk");
    }
    return report;
  }

  #report({ taskId, attempt }: AttemptId, body: ReportBody): AttemptReport {
    return { reportId: 0, taskId, attempt, atMs: systemClock.nowMs(), body };
  }

  #push({ report, body }: Omit<Pending, "resolve">): Promise<Answer> {
    report.reportId = ++this.#lastId;
    return new Promise((resolve) => {
      const pending = { report, resolve, ...(body === undefined ? {} : { body }) };
      this.#pending.set(report.reportId, pending);
      this.#send?.(report);
    });
  }

  /** A session is open: everything that waits goes out, and what comes next at once. */
  attach(send: (report: AttemptReport) => void): void {
    this.#send = send;
    for (const { report, body } of this.#pending.values()) {
      if (body !== undefined) report.body = body();
      send(report);
    }
  }

  /** The session is gone. */
  detach(): void {
    this.#send = undefined;
  }

  acknowledge({ reportId, stale, later = false }: ReportAck): void {
    const pending = this.#pending.get(reportId);
    if (pending === undefined) return;
    this.#pending.delete(reportId);
    const { taskId, attempt, body } = pending.report;
    if (body?.$case === "exit" || body?.$case === "refusal") {
      this.#journal.delete(attemptKey({ taskId: taskId as TaskId, attempt }));
    }
    pending.resolve({ stale, later });
  }

  /** The end of the attempt, if it waits for SMS: it is told in another way from now on. */
  take(id: AttemptId): FinalBody | undefined {
    const kept = this.#journal.entries().find(([key]) => key === attemptKey(id))?.[1].body;
    this.drop(id);
    return kept?.$case === "exit" || kept?.$case === "refusal" ? kept : undefined;
  }

  /** SMS took the attempt away: nothing more is said about it. */
  drop(id: AttemptId): void {
    for (const [reportId, { report, resolve }] of this.#pending) {
      if (report.taskId !== id.taskId || report.attempt !== id.attempt) continue;
      // What it wrote is still its output.
      if (report.body?.$case === "seal") continue;
      this.#pending.delete(reportId);
      resolve({ stale: true, later: false });
    }
    this.#journal.delete(attemptKey(id));
  }

  [Symbol.dispose](): void {
    this.#journal[Symbol.dispose]();
  }
}
