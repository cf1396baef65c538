/**
 * SMS put together: Redis, records, scheduler, sessions and the two listeners.
 * It keeps no state of its own; any number of it may run over one Redis.
 */
import { type Clock, systemClock } from "@spear/shared/clock.ts";
import { Handlers } from "@spear/shared/grpc/handlers.ts";
import { startGrpc } from "@spear/shared/grpc/server.ts";
import { createHttp, startHttp } from "@spear/shared/http/server.ts";
import { type IdSource, systemIds } from "@spear/shared/ids.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import { Metrics } from "@spear/shared/metrics.ts";
import type { Started } from "@spear/shared/program.ts";
import { connectRedis, redactUrl } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { StoreClient } from "@spear/shared/store/client.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { AnyElysia } from "elysia";
import type { Redis } from "ioredis";
import type { SmsConfig } from "./config.ts";
import { EventLog } from "./events/events.ts";
import { type EventHttpDeps, eventRoutes } from "./events/http.ts";
import { JobAdvancer } from "./jobs/advancer.ts";
import { jobService } from "./jobs/grpc.ts";
import { type JobHttpDeps, jobRoutes } from "./jobs/http.ts";
import { Jobs } from "./jobs/jobs.ts";
import { JobRecords } from "./jobs/redis.ts";
import { scheduleService } from "./schedules/grpc.ts";
import { type ScheduleHttpDeps, scheduleRoutes } from "./schedules/http.ts";
import { ScheduleRecords } from "./schedules/redis.ts";
import { Schedules } from "./schedules/schedules.ts";
import { Admission } from "./nodes/admission.ts";
import { nodeService } from "./nodes/grpc.ts";
import { nodeRoutes } from "./nodes/http.ts";
import { Nodes } from "./nodes/nodes.ts";
import { NodeRecords } from "./nodes/redis.ts";
import { Sessions } from "./nodes/sessions.ts";
import { Replicas } from "./replicas/replicas.ts";
import { Dispatcher } from "./scheduler/dispatch.ts";
import { Explainer } from "./scheduler/explain.ts";
import { Leader } from "./scheduler/leader.ts";
import type { Policy } from "./scheduler/place.ts";
import { Preemptor } from "./scheduler/preemptor.ts";
import { Reconciler } from "./scheduler/reconcile.ts";
import { Scheduler } from "./scheduler/scheduler.ts";
import { registerMetrics } from "./operator/metrics.ts";
import { ClusterView } from "./scheduler/view.ts";
import { Audits } from "./tasks/audits.ts";
import { taskService } from "./tasks/grpc.ts";
import { type TaskHttpDeps, taskRoutes } from "./tasks/http.ts";
import { TaskLogs } from "./tasks/logs.ts";
import { NodeLogs } from "./tasks/node-logs.ts";
import { OutputRetention } from "./tasks/output-retention.ts";
import { OutputPublisher } from "./tasks/outputs.ts";
import { TaskRecords } from "./tasks/redis.ts";
import { Reports } from "./tasks/reports.ts";
import { Seals } from "./tasks/seals.ts";
import { Tasks } from "./tasks/tasks.ts";
import packageJson from "../package.json" with { type: "json" };

/** Largest JSON body: a bulk submit of 10,000 small specs fits. */
const maxBodyBytes = 16 << 20;

/** How often a page of sealed output is looked at while a round lasts. */
const retentionStepMs = 1_000;

/** How soon after its end a lease is noticed, in milliseconds. */
const leaseLookMs = 250;

export interface SmsDeps {
  log: Log;
  clock?: Clock;
  ids?: IdSource;
}

/** What the routes call; the OpenAPI document is made from routes over services that are never called. */
export type SmsServices = { metrics: Metrics } & TaskHttpDeps &
  JobHttpDeps &
  ScheduleHttpDeps &
  EventHttpDeps & { nodes: Nodes; admission: Admission };

/** The REST application over its services. */
export function smsHttp(
  services: SmsServices,
  ready: () => Promise<Record<string, true | string>>,
): AnyElysia {
  return createHttp(
    {
      title: "SPEAR SMS",
      description: "Control plane of a SPEAR cluster: tasks, jobs, nodes and events.",
      version: packageJson.version,
      log: services.log,
      maxBodyBytes,
      ready,
      metrics: services.metrics,
    },
    [
      taskRoutes(services),
      jobRoutes(services),
      scheduleRoutes(services),
      nodeRoutes(services),
      eventRoutes(services),
    ],
  );
}

/** Starts SMS. Throws `unavailable` if Redis does not answer or an address is taken. */
export async function start(config: SmsConfig, deps: SmsDeps): Promise<Started> {
  const { log } = deps;
  const clock = deps.clock ?? systemClock;
  const ids = deps.ids ?? systemIds;
  const stack = new AsyncDisposableStack();
  try {
    const keys = new Keys(config.namespace);
    const redis = connection(stack, config.redisUrl, "commands", log);
    const reader = connection(stack, config.redisUrl, "blocking", log);
    const queueRedis = connection(stack, config.redisUrl, "blocking", log);
    await answering(redis, config.redisUrl);

    const records = new TaskRecords(redis, keys, config.eventsKept);
    const nodeRecords = new NodeRecords(redis, keys, config.eventsKept);
    const events = stack.use(new EventLog(redis, reader, keys, log));
    await events.start();
    const dispatcher = stack.use(new Dispatcher(queueRedis, keys.queuePrefix, log));
    const policy = config.placement as Policy;
    const view = new ClusterView(nodeRecords, clock, policy);
    await view.refreshAll();
    const preemptor =
      config.preemption === "on"
        ? new Preemptor({
            records,
            view,
            clock,
            everyMs: config.preemptEveryMs,
            log,
          })
        : undefined;
    const scheduler = stack.use(
      new Scheduler({
        records,
        view,
        dispatcher,
        events,
        clock,
        reserveAfterMs: config.reserveAfterMs,
        preemptor,
        log,
      }),
    );
    const outputs = new OutputPublisher(config.storeUrl);
    const reports = new Reports({
      records,
      outputs,
      clock,
      log,
      nodeFaultLimit: config.nodeFaultLimit,
    });
    const sessions = new Sessions();
    const tasks = new Tasks({ records, scheduler, dispatcher, clock, ids });
    const explainer = new Explainer({ records, view, clock });
    const jobRecords = new JobRecords(redis, keys, config.eventsKept);
    const advancer = stack.use(
      new JobAdvancer({ records: jobRecords, scheduler, events, clock, log }),
    );
    const jobs = new Jobs({
      records: jobRecords,
      taskRecords: records,
      tasks,
      advancer,
      view,
      clock,
      ids,
    });
    const schedules = stack.use(
      new Schedules({
        records: new ScheduleRecords(redis, keys),
        jobs,
        events,
        clock,
        redis: queueRedis,
        prefix: keys.queuePrefix,
        log,
      }),
    );
    const audits = new Audits({ redis, keys, tasks });
    const lease = { leaseMs: config.leaseMs, heartbeatMs: config.heartbeatMs };
    const nodes = new Nodes({
      records: nodeRecords,
      tasks: records,
      reports,
      dispatcher,
      clock,
      ids,
      log,
      lease,
    });
    const seals = new Seals(redis, keys);
    const store = new StoreClient(() => config.storeUrl);
    const logs = new TaskLogs({
      tasks,
      events,
      nodeLogs: new NodeLogs(nodes, sessions),
      seals,
      store,
      clock,
    });
    const admission = new Admission({
      redis,
      keys,
      clock,
      required: config.joinTokens === "required",
    });
    const reconciler = new Reconciler({ tasks: records, nodes, reports, dispatcher, clock });
    const leader = stack.use(
      new Leader({
        redis,
        keys,
        clock,
        log,
        name: `${process.pid}-${crypto.randomUUID()}`,
        onLead: () => reconciling.signalled(),
      }),
    );
    const reconciling = stack.use(
      new Loop("reconciler", config.reconcileMs, log, async (signal) => {
        const { epoch } = leader;
        if (epoch !== undefined) await reconciler.step(signal, epoch);
      }),
    );

    // The verdict must not wait for its turn among the repairs.
    stack.use(
      new Loop("leases", leaseLookMs, log, async () => {
        const { epoch } = leader;
        if (epoch !== undefined) await nodes.giveUpExpired(epoch);
      }),
    );
    const retention = new OutputRetention({
      store,
      tasks: records,
      clock,
      roundMs: config.outputRoundMs,
    });
    stack.use(
      new Loop("output retention", retentionStepMs, log, async (signal) => {
        if (leader.epoch !== undefined) await retention.step(signal);
      }),
    );

    const metrics = new Metrics("sms", packageJson.version);
    stack.defer(
      registerMetrics({
        metrics,
        redis,
        tasks: records,
        jobs: jobRecords,
        nodes: nodeRecords,
        dispatcher,
        events,
        leader,
      }),
    );
    const ready = async (): Promise<Record<string, true | string>> => ({
      redis: await redis.ping().then(
        () => true as const,
        () => "does not answer",
      ),
    });
    const http = stack.use(
      startHttp(
        smsHttp(
          {
            tasks,
            jobs,
            schedules,
            explainer,
            logs,
            audits,
            events,
            nodes,
            admission,
            metrics,
            log,
          },
          ready,
        ),
        config.httpListen,
        maxBodyBytes * 2,
      ),
    );
    const handlers = new Handlers(log);
    const cluster = {
      redisUrl: config.redisUrl,
      queuePrefix: keys.queuePrefix,
      storeUrl: config.storeUrl,
    };
    const replicas = stack.use(
      new Replicas({
        redis,
        keys,
        eventsKept: config.eventsKept,
        log,
        onChange: (smsAddresses) =>
          sessions.tellAll({ $case: "replicas", value: { smsAddresses: [...smsAddresses] } }),
        onDataLost: () => events.beginAnew(),
      }),
    );
    const grpc = stack.use(
      await startGrpc(config.grpcListen, [
        nodeService(handlers, {
          nodes,
          admission,
          sessions,
          reports,
          seals,
          audits,
          events,
          cluster,
          onCached: (id) => view.markDirty(id),
          replicas,
          adopts: config.onDataLoss === "adopt",
          log,
        }),
        taskService(handlers, { tasks, explainer, logs, audits, events }),
        jobService(handlers, { jobs, events }),
        scheduleService(handlers, { schedules, jobs }),
      ]),
    );
    await replicas.begin(config.advertise === "" ? grpc.address : config.advertise);
    stack.defer(() => sessions.closeAll());
    log.info(
      { http: http.address, grpc: grpc.address, redis: redactUrl(config.redisUrl) },
      "sms is ready",
    );
    const owned = stack.move();
    return {
      http: http.address,
      grpc: grpc.address,
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

function connection(
  stack: AsyncDisposableStack,
  url: string,
  kind: "commands" | "blocking",
  log: Log,
): Redis {
  const redis = connectRedis(url, kind, log);
  stack.defer(() => redis.disconnect());
  return redis;
}

async function answering(redis: Redis, url: string): Promise<void> {
  try {
    await redis.ping();
  } catch (error) {
    throw new Fault("unavailable", `Redis at ${redactUrl(url)} does not answer`, {
      help: "check that redis-server runs there, or give its address with --redis-url",
      cause: error,
    });
  }
}
