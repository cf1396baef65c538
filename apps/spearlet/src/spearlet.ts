/**
 * The composition of SPEARlet: Node Controller (control/), Task Controller
 * (executions/) and Worker Agents (agents/), wired together and taken apart in
 * reverse order. A node that has lost SMS keeps running what it has.
 */
import { join } from "node:path";
import type { RegisterResponse } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Handlers } from "@spear/shared/grpc/handlers.ts";
import { startGrpc } from "@spear/shared/grpc/server.ts";
import { createHttp, startHttp } from "@spear/shared/http/server.ts";
import { systemIds, type NodeId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { Metrics } from "@spear/shared/metrics.ts";
import type { Started } from "@spear/shared/program.ts";
import type { Runtime } from "@spear/shared/task.ts";
import type { AnyElysia } from "elysia";
import type { Agent } from "./agents/agent.ts";
import { AgentSet } from "./agents/agents.ts";
import { DockerAgent } from "./agents/docker/docker.ts";
import type { FetchObject } from "./agents/docker/image.ts";
import { MockAgent } from "./agents/mock.ts";
import { ProcessAgent } from "./agents/process.ts";
import type { FetchModule } from "./agents/wasm/source.ts";
import { WasmAgent } from "./agents/wasm/wasm.ts";
import { processPolicy, sourcePolicy, type SpearletConfig } from "./config.ts";
import { CachedNames } from "./control/cached.ts";
import { healthService } from "./control/grpc.ts";
import { healthRoutes } from "./control/http.ts";
import type { Examine } from "./control/schema.ts";
import { ClusterLife, credentialIn, lockDataDir, nodeIdIn } from "./control/identity.ts";
import { Link } from "./control/link.ts";
import { registerMetrics } from "./control/metrics.ts";
import { LocalNode } from "./control/node.ts";
import { Ownership } from "./control/ownership.ts";
import { SmsReplicas } from "./control/replicas.ts";
import { Reports } from "./control/reports.ts";
import type { LeftBehind } from "./executions/execution.ts";
import { Executions } from "./executions/executions.ts";
import { taskService } from "./executions/grpc.ts";
import { taskRoutes, type TaskHttpDeps } from "./executions/http.ts";
import { IntakeSwitch } from "./executions/intake.ts";
import { ModuleCache } from "./executions/modules.ts";
import { LocalAttempts } from "./executions/local.ts";
import { LogStore, parseStream } from "./executions/logs.ts";
import { Sealer } from "./executions/sealer.ts";
import { Staging } from "./executions/staging.ts";
import { LocalSubmits } from "./executions/submit.ts";
import { serveHost } from "./hostcalls/http.ts";
import { Hosts } from "./hostcalls/hosts.ts";
import { Journal } from "./journal.ts";
import { StoreClient } from "@spear/shared/store/client.ts";
import { objectService } from "./objects/grpc.ts";
import { objectRoutes, streamsObject, type ObjectHttpDeps } from "./objects/http.ts";
import { NodeObjects } from "./objects/objects.ts";
import { attemptOf } from "./executions/attempt.ts";

const version = "0.1.0";
const maxBodyBytes = 4 * 1024 * 1024;
const firstTryMs = 3_000;
const leaveTimeoutMs = 1_000;
/** How long reports may take to reach SMS when the node stops, beyond the grace. */
const farewellMs = 3_000;
/** How long output may take to reach the store when the node stops. */
const sealPatienceMs = 2_000;

/** What agents are made of. */
interface AgentDeps {
  config: SpearletConfig;
  nodeId: NodeId;
  fetchModule: FetchModule;
  fetchObject: FetchObject;
  log: Log;
}

/** How each runtime's agent is made; one that can't work here says so when it is probed. */
const makers: Record<Runtime, (deps: AgentDeps) => Agent> = {
  process: ({ config, nodeId }) =>
    new ProcessAgent({ nodeId, dataDir: config.dataDir, ...processPolicy(config) }),
  docker: ({ config, nodeId, fetchObject, log }) =>
    new DockerAgent({
      nodeId,
      socketPath: config.dockerSocket,
      networks: config.dockerNetworks,
      ...(config.dockerConfig === undefined ? {} : { credentialsFile: config.dockerConfig }),
      ...(sourcePolicy(config).imageObjects ? { fetchObject } : {}),
      log,
    }),
  wasm: ({ config, fetchModule }) =>
    new WasmAgent({
      fetchModule,
      cacheDir: join(config.dataDir, "compiled"),
      ...(config.wasmCpuSeconds === undefined ? {} : { cpuSeconds: config.wasmCpuSeconds }),
      reuseKey: ({ spec }) => (config.wasmReuse && spec.wasm?.reuse === true ? "node" : undefined),
    }),
  mock: () => new MockAgent(),
};

/** What the routes call; the OpenAPI document is made from routes over services that are never called. */
export type SpearletServices = TaskHttpDeps &
  ObjectHttpDeps & { metrics: Metrics; examine: Examine };

/** The REST application over its services. */
export function spearletHttp(
  services: SpearletServices,
  ready: () => Record<string, true | string>,
): AnyElysia {
  return createHttp(
    {
      title: "SPEARlet",
      description: "A node of SPEAR: its attempts, their output and its health.",
      version,
      log: services.log,
      maxBodyBytes,
      streams: streamsObject,
      ready: () => Promise.resolve(ready()),
      metrics: services.metrics,
    },
    [taskRoutes(services), objectRoutes(services), healthRoutes(services.examine)],
  );
}

/**
 * Starts a node. Resolves when it listens and has registered, or when SMS did not
 * answer at once; it goes on trying. Throws `conflict` if another SPEARlet uses
 * the data directory, `unavailable` if an address or the directory can't be used.
 */
export async function start(config: SpearletConfig, { log }: { log: Log }): Promise<Started> {
  await using resources = new AsyncDisposableStack();
  const { dataDir, smsAddress } = config;
  resources.use(lockDataDir(dataDir));
  const nodeId = nodeIdIn(dataDir, systemIds);

  const reports = resources.use(new Reports(join(dataDir, "reports.jsonl"), log));
  const running = resources.use(Journal.open<LeftBehind>(join(dataDir, "running.jsonl")));
  const logs = await LogStore.open(
    join(dataDir, "logs"),
    { attempts: config.maxLogsAttempts, bytes: config.maxLogsBytes },
    () => sealer.signalled(),
  );
  const store = new StoreClient(() => node.storeUrl);
  const sealer = resources.use(
    new Sealer({
      logs,
      store,
      tell: async (id, seal, signal) => {
        await locals.told(id, signal);
        return reports.seal(id, seal, signal);
      },
      log,
    }),
  );
  const objects = new NodeObjects({
    store,
    dir: join(dataDir, "objects"),
    maxBytes: config.objectCacheBytes,
    log,
  });
  const hosts = resources.use(
    new Hosts({
      nodeId,
      dataDir,
      smsAddress,
      sources: { objects, store },
      serve: serveHost,
      log,
    }),
  );
  const modules = new ModuleCache(
    join(dataDir, "modules"),
    config.moduleCacheBytes,
    store,
    sourcePolicy(config).moduleHosts,
  );
  const fetchModule: FetchModule = (source, signal) => modules.fetch(source, signal);
  const staging = new Staging(objects);
  const fetchObject: FetchObject = (object, path, signal) =>
    staging.fetchFile(object, path, signal);
  const made = [...new Set(config.runtimes)].map((runtime) =>
    makers[runtime]({ config, nodeId, fetchModule, fetchObject, log }),
  );
  const agents = resources.use(
    new AgentSet({
      agents: made,
      known: (runtime) =>
        running
          .entries()
          .filter(([, left]) => left.runtime === runtime)
          .map(([, left]) => left.handle),
      log,
    }),
  );
  const cached = new CachedNames((most) => objects.cachedNames(most), systemClock);
  const node = new LocalNode({
    id: nodeId,
    config,
    version,
    killMethod: made.find((agent) => agent instanceof ProcessAgent)?.killMethod ?? "none",
    runtimes: () => agents.offered(),
    running: () => executions.size,
    cached: () => cached.news(),
  });
  const cluster = new ClusterLife(dataDir);
  const replicas = new SmsReplicas(
    nodeId,
    smsAddress.split(",").map((address) => address.trim()),
  );
  const locals: LocalAttempts = resources.use(
    new LocalAttempts({
      path: join(dataDir, "local.jsonl"),
      most: config.maxLocalTasks,
      capacity: node.capacity,
      reports,
      inUse: () => executions.inUse(),
      run: (job) => executions.run(job),
      disown: (id) => executions.disown(id),
      submit: (spec, key, job) => submits.toSms(spec, key, job),
      log,
    }),
  );
  const ownership = resources.use(new Ownership(() => executions.loseOwnership()));
  const executions = new Executions({
    agents,
    upstream: locals,
    hasEnd: (id) => reports.hasEnd(id),
    store,
    beginsAgain: (id) => locals.beginsAgain(id),
    hasRoomFor: (job) => locals.hasRoomFor(job),
    onRoom: () => locals.roomChanged(),
    staging,
    prepared: (spec) => cached.prepared(spec),
    logs,
    hosts,
    objects,
    running,
    nodeId,
    workDir: join(dataDir, "work"),
    keptDir: join(dataDir, "kept"),
    stopGraceMs: config.stopGraceMs,
    prepareTimeoutMs: config.prepareTimeoutMs,
    owned: () => ownership.owned,
    log,
  });
  await executions.recover();
  sealer.start();
  const submits: LocalSubmits = resources.use(
    new LocalSubmits({
      smsAddress: () => link.smsAddress,
      connected: () => link.connected,
      nodeId,
      ids: systemIds,
      locals,
      offers: (runtime) => agents.get(runtime) !== undefined,
    }),
  );

  const intake = resources.use(
    new IntakeSwitch({
      slots: node.capacity.slots,
      run: (job) => executions.run(job),
      log,
    }),
  );
  const onRegistered = async (response: RegisterResponse) => {
    node.onRegistered(response);
    cluster.registered(response.clusterId);
    const redisUrl = config.redisUrl ?? response.redisUrl;
    hosts.cluster.connect({ redisUrl, queuePrefix: response.queuePrefix });
    await intake.connect({ nodeId, redisUrl, queuePrefix: response.queuePrefix });
  };

  const ready = () => ({
    sms: link.connected || `no session with SMS at ${smsAddress}`,
    redis: intake.connected || "the Redis of the node's queue does not answer",
  });
  const examine = () => ({
    nodeId,
    smsConnected: link.connected,
    redisConnected: intake.connected,
    usage: node.usage(),
    runtimes: agents.offered(),
    pendingReports: reports.size,
  });
  const handlers = new Handlers(log);
  const grpc = resources.use(
    await startGrpc(
      config.grpcListen,
      [
        taskService(handlers, { executions, submits }),
        objectService(handlers, objects),
        healthService(handlers, examine),
      ],
      { log, ready: () => Promise.resolve(Object.values(ready()).every((part) => part === true)) },
    ),
  );
  const metrics = new Metrics("spearlet", version);
  registerMetrics(metrics, executions, examine);
  const app = spearletHttp({ executions, submits, objects, metrics, log, examine }, ready);
  const http = resources.use(startHttp(app, config.httpListen, Number.MAX_SAFE_INTEGER));
  node.addresses = { http: http.address, grpc: grpc.address };

  await agents.start(() => void link.announce().catch(() => undefined));
  locals.resume((id) => executions.isHeld(id));
  const link = resources.use(
    new Link({
      replicas,
      joinToken: config.joinToken,
      credential: credentialIn(dataDir),
      incarnation: node.incarnation,
      describe: () => node.describe(),
      usage: () => node.heartbeat(),
      held: () => locals.held([...executions.active(), ...reports.ends()]),
      cluster,
      reports,
      ownership,
      hosts,
      onRegistered,
      cancel: (id) => executions.cancel(id),
      disown: (id) => {
        locals.drop(id);
        executions.disown(id);
      },
      restore: (id) => {
        const known = executions.recall(id);
        if (known === undefined) log.error({ ...id }, "an attempt without a record is not known");
        else locals.restore(known.job, known.startedAtMs, reports.take(id));
      },
      onSession: () => void locals.handOver(),
      readLogs: (read, signal) =>
        executions.readLogs(
          attemptOf(read),
          { stream: parseStream(read.stream), follow: read.follow, tailBytes: read.tailBytes },
          signal,
        ),
      log,
    }),
  );
  resources.defer(async () => {
    await intake.pause();
    const patience = config.stopGraceMs + farewellMs;
    await Promise.race([executions.stopAll(), systemClock.wait(patience)]);
    await sealer.drain(sealPatienceMs);
    await link.leave(leaveTimeoutMs);
  });
  await Promise.race([link.firstTry, systemClock.wait(firstTryMs)]);

  const owned = resources.move();
  return {
    http: http.address,
    grpc: grpc.address,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
