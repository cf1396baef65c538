/**
 * A SPEARlet as SMS sees one: it takes attempts from its queue, claims each before
 * it starts, keeps reports until they are acknowledged, also across a crash, and
 * connects to some SMS for ever. It runs nothing.
 */
import { taskStateToProto } from "@spear/proto/enums.ts";
import { TaskSpec as WireSpec } from "@spear/proto/gen/spear/common/v1/task.ts";
import type { AttemptExit, AttemptReport } from "@spear/proto/gen/spear/sms/v1/node.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { type AttemptJob, attemptJobId } from "@spear/shared/queue.ts";
import type { TaskState } from "@spear/shared/state.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { Lease } from "@spear/shared/lease.ts";
import { type Cluster, heartbeatMs, leaseMs, type SimSms } from "./sms.ts";
import { Process } from "./world.ts";

const resendMs = 2_000;
const answerMs = 1_500;
/** The longest that it takes to end a command, and what a SPEARlet that was killed has left. */
const longestStopMs = 1_000;
const wardenMs = 2_400;
/** How long a silent connection is believed in, in milliseconds. */
const keepAliveMs = 4_000;

interface Held {
  job: AttemptJob;
  /** Somebody wants it to end. */
  cancelled: boolean;
  /** Connection during or after which it was taken. */
  connection: number;
}

/** An attempt of which SMS has no record yet, as it is on the node's disk. */
interface Local {
  held: Held;
  submittedAtMs: number;
  end?: AttemptExit;
  adopted: boolean;
}

export class SimNode {
  readonly process: Process;
  readonly zone: string;
  readonly slots: number;
  readonly #cluster: Cluster;
  readonly #nodeFault: number;
  /** On its disk: its id and the exits that were not acknowledged. */
  id: NodeId | undefined;
  readonly #journal = new Map<string, AttemptReport>();
  readonly #locals = new Map<string, Local>();
  /** Tasks that this node has accepted and that run nowhere else. */
  accepted: TaskId[] = [];
  /** In its memory: what it has claimed and what it runs. */
  readonly #claims = new Map<string, Held>();
  readonly #running = new Map<string, Held>();
  /** What its last life has left on the machine: the next begins with an end to it. */
  #left: Held[] = [];
  #lease: Lease;
  #incarnation = "";
  /** Counts its connections; a message of an older one is nobody's. */
  #connection = 0;
  #sms: SimSms | undefined;
  #heardMs = 0;

  constructor(cluster: Cluster, number: number, nodeFault: number) {
    this.process = new Process(cluster.world, `node${number}`);
    this.zone = number % 4 === 0 ? "us" : "eu";
    this.slots = 2 + (number % 3);
    this.#cluster = cluster;
    this.#nodeFault = nodeFault;
    this.#lease = this.#newLease();
  }

  #newLease(): Lease {
    const { process } = this;
    return new Lease(() => ({ steadyMs: process.world.nowMs, wallMs: process.nowMs() }));
  }

  start(): void {
    this.process.begin();
    for (const held of this.#left) this.#stopped(held, 0);
    this.#incarnation = `${this.process.name}-run-${this.process.life}`;
    this.#connect();
    this.#beat();
    this.#resendLater();
    for (const [key, local] of this.#locals) {
      // Its record is there: the hello says that the attempt is not.
      if (local.adopted) this.#locals.delete(key);
      else if (local.end === undefined) this.#run(key, local.held);
    }
    if (this.id !== undefined) this.#cluster.queues.of(this.id).onJob = () => this.#pullSoon();
  }

  crash(): void {
    const { process, id } = this;
    process.end();
    this.#claims.clear();
    this.#left = [...this.#running.values()];
    for (const held of this.#left) this.#stopped(held, wardenMs);
    this.#running.clear();
    this.#lease = this.#newLease();
    if (id === undefined) return;
    const queue = this.#cluster.queues.of(id);
    queue.onJob = () => undefined;
    queue.stall(process);
    const [sms, connection, incarnation] = [this.#sms, this.#connection, this.#incarnation];
    this.#sms = undefined;
    sms?.process.after(this.#cluster.world.random.between(2, 50), () =>
      sms.sessionBroke(this, connection, id, incarnation),
    );
  }

  /** Accepts a task itself, if it is up and has room; false if not. */
  accept(taskId: TaskId, spec: TaskSpec): boolean {
    const { process, id } = this;
    if (!process.alive || process.pausedUntilMs > process.world.nowMs || id === undefined)
      return false;
    if (this.#claims.size + this.#running.size >= this.slots) return false;
    const job = { taskId, attempt: 1, spec: { ...spec, nodeId: id } };
    const held = { job, cancelled: false, connection: this.#connection };
    const key = attemptJobId(taskId, 1);
    this.accepted.push(taskId);
    this.#locals.set(key, { held, submittedAtMs: process.nowMs(), adopted: false });
    this.#run(key, held);
    this.#tellOf(key);
    return true;
  }

  /** Tasks that are lost with its disk: nobody else knows of them. */
  get unknown(): TaskId[] {
    return [...this.#locals.values()]
      .filter(({ adopted }) => !adopted)
      .map(({ held }) => held.job.taskId);
  }

  /** Its disk is lost with it: when it starts again it is a new node. */
  loseDisk(): void {
    this.id = undefined;
    this.#locals.clear();
    this.accepted = [];
    this.#left = [];
    this.#journal.clear();
  }

  /** The other end died, or went away for long. */
  hangUp(sms: SimSms, connection: number): void {
    this.process.after(this.#cluster.world.random.between(2, 50), () => {
      if (this.#sms === sms && this.#connection === connection) this.#connect();
    });
  }

  /** Registers and says hello to any SMS; again after a while if that led nowhere. */
  #connect(): void {
    const { world, replicas } = this.#cluster;
    const connection = ++this.#connection;
    const [old, id, incarnation] = [this.#sms, this.id, this.#incarnation];
    this.#sms = undefined;
    if (old !== undefined && id !== undefined)
      old.process.after(keepAliveMs, () => old.sessionBroke(this, connection - 1, id, incarnation));
    const retry = () => {
      if (this.#connection === connection) this.#connect();
    };
    this.process.after(answerMs, () => {
      if (this.#sms === undefined) retry();
    });
    const sms = world.random.pick(replicas);
    sms.call(
      this.process,
      async ({ nodes }) => {
        const registered = await nodes.register({
          id: this.id,
          name: this.process.name,
          incarnation,
          httpAddress: "",
          grpcAddress: this.process.name,
          capacity: { cpu: 4, memoryBytes: 2 ** 30, slots: this.slots, extras: { gpu: 1 } },
          labels: { zone: this.zone },
          runtimes: [{ name: "mock", version: "" }],
          facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
        });
        return () => {
          // An answer that comes twice must not make two nodes of one.
          this.id ??= registered;
          this.#cluster.queues.of(this.id).onJob = () => this.#pullSoon();
          if (this.#connection === connection) this.#hello(sms, connection, retry);
        };
      },
      retry,
    );
  }

  #hello(sms: SimSms, connection: number, retry: () => void): void {
    const id = this.id as NodeId;
    const asked = this.#lease.stamp();
    const held = [
      ...this.#claims.values(),
      ...this.#running.values(),
      ...this.#journal.values(),
    ].map((one) => {
      const { taskId, attempt } = "job" in one ? one.job : one;
      return { taskId, attempt, local: this.#isUnknown(attemptJobId(taskId as TaskId, attempt)) };
    });
    for (const { held: one, adopted, end } of this.#locals.values())
      if (!adopted && end !== undefined)
        held.push({ taskId: one.job.taskId, attempt: one.job.attempt, local: true });
    sms.call(
      this.process,
      async ({ nodes }) => {
        const { disowned } = await nodes.hello(id, this.#incarnation, held, connection);
        sms.openSession(this, connection, id);
        return () => {
          if (this.#connection !== connection || this.#sms !== undefined) return;
          this.#sms = sms;
          this.#renewed(asked);
          this.#heardMs = this.process.nowMs();
          for (const { taskId, attempt } of disowned) this.#forget(taskId as TaskId, attempt);
          this.#resend();
          this.#pullSoon();
        };
      },
      retry,
    );
  }

  /** Heartbeats, and an end to a connection over which nothing has come for long. */
  #beat(): void {
    this.process.after(heartbeatMs, () => this.#beat());
    const [sms, id, connection] = [this.#sms, this.id, this.#connection];
    if (sms === undefined || id === undefined) return;
    if (this.process.nowMs() - this.#heardMs > keepAliveMs) {
      this.#connect();
      return;
    }
    const asked = this.#lease.stamp();
    const failed = () => {
      if (this.#connection === connection) this.#connect();
    };
    sms.call(
      this.process,
      async ({ nodes }) => {
        if (!sms.hasSession(this, connection)) return failed;
        await nodes.heartbeat(id, this.#incarnation, undefined);
        return () => {
          this.#heardMs = this.process.nowMs();
          this.#renewed(asked);
        };
      },
      failed,
    );
  }

  #renewed(asked: ReturnType<Lease["stamp"]>): void {
    this.#lease.granted(asked, leaseMs);
    const lease = this.#lease;
    this.process.after(lease.leftMs + 1, () => {
      if (lease.leftMs === 0 && lease === this.#lease) this.#loseOwnership();
    });
  }

  /** Ends what must never run twice at once. */
  #loseOwnership(): void {
    for (const [key, held] of this.#running) {
      if (held.job.spec.exclusive !== true) continue;
      this.process.after(this.#cluster.world.random.between(0, longestStopMs), () => {
        if (this.#running.get(key) === held) this.#end(key, held, "failed", true);
      });
    }
  }

  /** A command is ended, which takes its time, also where the machine's SPEARlet is gone. */
  #stopped({ job }: Held, afterMs: number): void {
    const { world, redis } = this.#cluster;
    world.after(afterMs, undefined, () => redis.checker.stopped(job));
  }

  #resendLater(): void {
    this.process.after(resendMs, () => {
      this.#resend();
      this.#pullSoon();
      this.#resendLater();
    });
  }

  #resend(): void {
    for (const held of this.#claims.values()) this.#claim(held);
    for (const report of this.#journal.values()) this.#send(report);
    for (const [key, { adopted }] of this.#locals) if (!adopted) this.#tellOf(key);
  }

  #isUnknown(key: string): boolean {
    return this.#locals.get(key)?.adopted === false;
  }

  /** Tells SMS of an attempt of which it has no record. */
  #tellOf(key: string): void {
    const local = this.#locals.get(key);
    if (local === undefined) return;
    const { held, submittedAtMs, end } = local;
    const { taskId, attempt, spec } = held.job;
    const value = {
      spec: WireSpec.fromJSON(spec),
      submittedAtMs,
      startedAtMs: submittedAtMs,
      idempotencyKey: "",
      exit: end,
      session: `${this.#incarnation} ${held.connection}`,
    };
    this.#send({ reportId: 0, taskId, attempt, atMs: 0, body: { $case: "adoption", value } });
  }

  #adoptionAnswered(key: string, withEnd: boolean, stale: boolean, later: boolean): void {
    const local = this.#locals.get(key);
    if (local === undefined || local.adopted || later) return;
    if (stale || withEnd) {
      this.#locals.delete(key);
      if (stale) this.#running.delete(key);
      return;
    }
    local.adopted = true;
    // It ended while SMS was told that it runs.
    if (local.end !== undefined) this.#report(key, local.held.job, local.end);
  }

  #pullSoon(): void {
    this.process.after(this.#cluster.world.random.next() * 2, () => this.#pull());
  }

  #pull(): void {
    if (this.id === undefined || this.#cluster.redis.away) return;
    const queue = this.#cluster.queues.of(this.id);
    while (this.#claims.size + this.#running.size < this.slots) {
      const job = queue.take();
      if (job === undefined) return;
      const key = attemptJobId(job.taskId, job.attempt);
      if (this.#claims.has(key) || this.#running.has(key)) continue;
      if (this.#journal.has(key)) {
        queue.done(job);
        continue;
      }
      const unowned = job.spec.exclusive === true && this.#lease.leftMs === 0;
      if (unowned || this.#cluster.world.random.chance(this.#nodeFault)) {
        this.#refuse(key, job);
        continue;
      }
      const held = { job, cancelled: false, connection: this.#connection };
      this.#claims.set(key, held);
      this.#claim(held);
    }
  }

  #refuse(key: string, job: AttemptJob): void {
    const { taskId, attempt } = job;
    const failure = { code: "input_missing", message: "an input is missing" };
    const body = { $case: "refusal" as const, value: { failure } };
    const report: AttemptReport = { reportId: 0, taskId, attempt, atMs: 0, body };
    this.#journal.set(key, report);
    this.#cluster.queues.of(this.id as NodeId).done(job);
    this.#send(report);
  }

  #claim({ job: { taskId, attempt }, connection }: Held): void {
    const session = `${this.#incarnation} ${connection}`;
    const body = { $case: "claim" as const, value: { session } };
    this.#send({ reportId: 0, taskId, attempt, atMs: 0, body });
  }

  #send(report: AttemptReport): void {
    const [sms, id, connection] = [this.#sms, this.id, this.#connection];
    if (sms === undefined || id === undefined) return;
    const { network } = this.#cluster;
    network.send(this.process, sms.process, () => {
      void sms.takeReport(this, connection, id, report, (stale, later = false) =>
        network.send(sms.process, this.process, () => {
          // What comes over a connection that was given up is not read any more.
          if (this.#connection !== connection) return;
          this.#heardMs = this.process.nowMs();
          const key = attemptJobId(report.taskId as TaskId, report.attempt);
          if (report.body?.$case === "claim") this.#claimAnswered(report, stale);
          else if (report.body?.$case === "adoption")
            this.#adoptionAnswered(key, report.body.value.exit !== undefined, stale, later);
          else this.#journal.delete(key);
        }),
      );
    });
  }

  #claimAnswered({ taskId, attempt }: AttemptReport, stale: boolean): void {
    const key = attemptJobId(taskId as TaskId, attempt);
    const held = this.#claims.get(key);
    if (held === undefined) return;
    this.#claims.delete(key);
    if (stale) {
      this.#cluster.queues.of(this.id as NodeId).done(held.job);
      this.#pullSoon();
      return;
    }
    this.#running.set(key, held);
    if (held.job.spec.exclusive === true && this.#lease.leftMs === 0) {
      this.#end(key, held, "failed", true);
      return;
    }
    this.#cluster.redis.checker.started(held.job, this.process);
    this.#run(key, held);
  }

  #run(key: string, held: Held): void {
    this.#running.set(key, held);
    const { mock } = held.job.spec;
    if (mock?.hang === true && !held.cancelled) return;
    const runMs = held.cancelled ? 0 : (mock?.sleepMs ?? 0);
    this.process.after(runMs, () => {
      if (this.#running.get(key) === held) this.#end(key, held, outcomeOf(held));
    });
  }

  #end(key: string, held: Held, state: TaskState, lost = false): void {
    const { job } = held;
    const { taskId, attempt, spec } = job;
    const { random } = this.#cluster.world;
    const nodeFault = lost || (state !== "cancelled" && random.chance(this.#nodeFault));
    this.#stopped(held, 0);
    const outputs = (state === "succeeded" ? (spec.outputs ?? []) : []).map(({ path, object }) => ({
      path,
      object,
      objectId: `${taskId} ${attempt}`,
      sizeBytes: 1,
    }));
    const exit: AttemptExit = {
      state: taskStateToProto(nodeFault ? "failed" : state),
      exitCode: state === "succeeded" ? 0 : 1,
      signal: "",
      failure: undefined,
      outputs: nodeFault ? [] : outputs,
      usage: undefined,
      nodeFault,
      noOutput: true,
      hostcalls: [],
    };
    this.#running.delete(key);
    const local = this.#locals.get(key);
    if (local !== undefined && !local.adopted) {
      local.end = exit;
      this.#tellOf(key);
    } else this.#report(key, job, exit);
    this.#pullSoon();
  }

  /** Keeps the end of an attempt until SMS has it. */
  #report(key: string, job: AttemptJob, exit: AttemptExit): void {
    const { taskId, attempt } = job;
    const body = { $case: "exit" as const, value: exit };
    const report: AttemptReport = { reportId: 0, taskId, attempt, atMs: 0, body };
    this.#locals.delete(key);
    this.#journal.set(key, report);
    this.#cluster.queues.of(this.id as NodeId).done(job);
    this.#send(report);
  }

  /** The attempt is another's now. */
  #forget(taskId: TaskId, attempt: number): void {
    const key = attemptJobId(taskId, attempt);
    this.#journal.delete(key);
    this.#locals.delete(key);
    this.#claims.delete(key);
    const running = this.#running.get(key);
    if (running !== undefined) this.#stopped(running, 0);
    this.#running.delete(key);
    this.#cluster.queues.of(this.id as NodeId).done({ taskId, attempt });
  }

  cancel(taskId: string, attempt: number): void {
    const key = attemptJobId(taskId as TaskId, attempt);
    const claim = this.#claims.get(key);
    if (claim !== undefined) claim.cancelled = true;
    const running = this.#running.get(key);
    if (running !== undefined) this.#end(key, running, "cancelled");
  }
}

function outcomeOf({ job, cancelled }: Held): TaskState {
  if (cancelled) return "cancelled";
  return job.attempt <= (job.spec.mock?.failAttempts ?? 0) ? "failed" : "succeeded";
}
