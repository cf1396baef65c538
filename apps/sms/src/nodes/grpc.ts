/** NodeService: parses, calls, encodes. The session is the one long-lived stream of a node. */
import { nodeStateFromProto } from "@spear/proto/enums.ts";
import { NodeState as WireState } from "@spear/proto/gen/spear/common/v1/node.ts";
import {
  type AttemptAudit,
  type AttemptReport,
  NodeServiceService,
  type NodeServiceServer,
  type SessionRequest,
  type SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import type { CallContext, GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import { Fault } from "@spear/shared/fault.ts";
import { type NodeId, parseId, type TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { EventLog } from "../events/events.ts";
import type { Audits } from "../tasks/audits.ts";
import type { Reports } from "../tasks/reports.ts";
import type { Seals } from "../tasks/seals.ts";
import type { Admission } from "./admission.ts";
import type { Replicas } from "../replicas/replicas.ts";
import type { Nodes } from "./nodes.ts";
import type { Session, Sessions } from "./sessions.ts";
import { nodeToProto, registrationFromProto, usageFromProto } from "./wire.ts";

/** What Register tells a node of the cluster. */
export interface ClusterFacts {
  redisUrl: string;
  queuePrefix: string;
  storeUrl: string;
}

export interface NodeGrpcDeps {
  nodes: Nodes;
  admission: Admission;
  sessions: Sessions;
  reports: Reports;
  seals: Seals;
  audits: Audits;
  /** A node has said what it need not fetch. */
  onCached: (nodeId: NodeId) => void;
  events: EventLog;
  cluster: ClusterFacts;
  replicas: Pick<Replicas, "life" | "addresses">;
  /** What has lost its record is adopted, not stopped. */
  adopts: boolean;
  log: Log;
}

/** Pause before a report is tried again while Redis or the store is away. */
const retryMs = 250;

export function nodeService(handlers: Handlers, deps: NodeGrpcDeps): GrpcService {
  const { nodes, admission, cluster, replicas } = deps;
  const implementation: NodeServiceServer = {
    register: handlers.unary(async ({ node, joinToken, nodeCredential }) => {
      const registration = registrationFromProto(node);
      await admission.admit(registration.id, joinToken, nodeCredential);
      const nodeId = await nodes.register(registration);
      await admission.bind(nodeId, nodeCredential);
      return {
        nodeId,
        ...cluster,
        ...nodes.lease,
        smsAddresses: [...replicas.addresses],
        clusterId: replicas.life,
      };
    }),
    deregister: handlers.unary(async ({ nodeId }) => {
      await nodes.deregister(parseId("node", nodeId, "nodeId"));
      return {};
    }),
    session: handlers.bidi((requests, context) => session(deps, requests, context)),
    updateStatus: handlers.unary(async ({ nodeId, incarnation, usage }) => {
      const id = parseId("node", nodeId, "nodeId");
      await nodes.heartbeat(id, incarnation, usage && usageFromProto(usage));
      return { leaseMs: nodes.lease.leaseMs };
    }),
    listNodes: handlers.unary(async ({ state }) => {
      const wanted = state === WireState.UNSPECIFIED ? undefined : nodeStateFromProto(state);
      const all = await nodes.list();
      return {
        nodes: all.filter((node) => wanted === undefined || node.state === wanted).map(nodeToProto),
      };
    }),
    getNode: handlers.unary(async ({ nodeId }) =>
      nodeToProto(await nodes.get(parseId("node", nodeId, "nodeId"))),
    ),
    drainNode: handlers.unary(async ({ nodeId, undo, deadlineMs }) => {
      const id = parseId("node", nodeId, "nodeId");
      return nodeToProto(await (undo ? nodes.undrain(id) : nodes.drain(id, deadlineMs)));
    }),
    cordonNode: handlers.unary(async ({ nodeId, undo }) =>
      nodeToProto(await nodes.cordon(parseId("node", nodeId, "nodeId"), !undo)),
    ),
    labelNode: handlers.unary(async ({ nodeId, set, remove }) =>
      nodeToProto(await nodes.label(parseId("node", nodeId, "nodeId"), { set, remove })),
    ),
    createJoinToken: handlers.unary(({ name, ttlMs }) => admission.create(name, ttlMs)),
    listJoinTokens: handlers.unary(async () => ({ joinTokens: await admission.list() })),
    revokeJoinToken: handlers.unary(async ({ id }) => {
      await admission.revoke(id);
      return {};
    }),
    getNodeUsage: handlers.unary(async ({ nodeId }) => ({
      samples: await nodes.usage(parseId("node", nodeId, "nodeId")),
    })),
  };
  return { definition: NodeServiceService, handlers: { ...implementation } };
}

/** One session: hello first, then heartbeats, reports and log replies until it breaks. */
async function* session(
  deps: NodeGrpcDeps,
  requests: AsyncIterable<SessionRequest>,
  context: CallContext,
): AsyncGenerator<SessionResponse> {
  const { nodes, sessions, replicas, adopts, log } = deps;
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  const hello = first.done === true ? undefined : first.value.body;
  if (hello?.$case !== "hello") {
    throw new Fault("invalid_argument", "hello: must be the first message of a session", {
      field: "hello",
    });
  }
  const nodeId = parseId("node", hello.value.nodeId, "hello.nodeId");
  const { incarnation, held, session: number, nodeCredential, clusterId } = hello.value;
  await deps.admission.recognise(nodeId, nodeCredential);
  const dataLost = clusterId !== "" && replicas.life !== "" && clusterId !== replicas.life;
  if (dataLost)
    log.error({ nodeId, held: held.length }, "a node is from before redis lost its data");
  const { disowned, unknown } = await nodes.hello(
    nodeId, incarnation, held, number, dataLost && adopts,
  ); // prettier-ignore
  const current = sessions.open(nodeId, incarnation);
  // Wishes to stop an attempt reach the replica that has the session as events.
  const stopListening = deps.events.listen((event) => {
    const wish = event.kind === "task.cancel_requested" || event.kind === "task.evict_requested";
    if (wish && event.nodeId === nodeId && event.taskId !== undefined) {
      current.send({ $case: "cancel", value: { taskId: event.taskId, attempt: event.attempt } });
    }
  });
  const tellWishes = async () => {
    // Wishes from while it had no session; later ones come as events.
    for (const value of await nodes.stopWishes(nodeId)) current.send({ $case: "cancel", value });
  };
  log.info({ nodeId, held: held.length, disowned: disowned.length }, "session opened");
  const reading = Promise.all([
    readAll(deps, current, incoming, context.signal),
    tellWishes(),
  ]).then(
    () => current.close(),
    (error: unknown) => current.close(Fault.from(error)),
  );
  try {
    yield { body: { $case: "welcome", value: { ...nodes.lease, disowned, unknown } } };
    yield* current.down;
  } finally {
    stopListening();
    const wasCurrent = sessions.forget(current);
    log.info({ nodeId }, "session ended");
    if (wasCurrent) {
      nodes.suspect(nodeId, incarnation).catch((error: unknown) => {
        log.warn({ err: error, nodeId }, "probing a node failed");
      });
    }
  }
  await reading;
}

async function readAll(
  deps: NodeGrpcDeps,
  current: Session,
  incoming: AsyncIterator<SessionRequest>,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const next = await incoming.next();
    if (next.done === true) return;
    const { body } = next.value;
    switch (body?.$case) {
      case "heartbeat":
        await deps.nodes.heartbeat(current.nodeId, current.incarnation, usageFromProto(body.value));
        if (body.value.cached !== undefined) deps.onCached(current.nodeId);
        current.send({ $case: "renewed", value: { leaseMs: deps.nodes.lease.leaseMs } });
        break;
      case "reports":
        for (const report of body.value.reports) void takeReport(deps, current, report, signal);
        break;
      case "log":
        current.onLogReply(body.value);
        break;
      case "audit":
        void keepAudit(deps, body.value);
        break;
      default:
        throw new Fault("invalid_argument", "a message of the session has no body", {
          field: "body",
        });
    }
  }
}

/** What an attempt has asked so far; the whole comes with its exit, so a failure loses nothing. */
async function keepAudit({ audits, log }: NodeGrpcDeps, audit: AttemptAudit): Promise<void> {
  try {
    await audits.write(parseId("task", audit.taskId, "taskId"), audit.attempt, audit.uses);
  } catch (error) {
    log.warn({ err: error, taskId: audit.taskId }, "keeping an audit failed");
  }
}

/** Applies a report until it is in the record, then acknowledges it. */
async function takeReport(
  deps: NodeGrpcDeps,
  current: Session,
  report: AttemptReport,
  signal: AbortSignal,
): Promise<void> {
  const { log } = deps;
  const { reportId, taskId, attempt } = report;
  while (!signal.aborted) {
    try {
      const { body } = report;
      const exit =
        body?.$case === "adoption"
          ? body.value.exit
          : body?.$case === "exit"
            ? body.value
            : undefined;
      if (exit !== undefined) await deps.audits.write(taskId as TaskId, attempt, exit.hostcalls);
      const { stale, later } =
        report.body?.$case === "seal"
          ? { ...(await deps.seals.take(report)), later: undefined }
          : await deps.reports.take(current.nodeId, report);
      if (stale)
        log.warn(
          { nodeId: current.nodeId, taskId, attempt },
          "refused a report of a stale attempt",
        );
      current.acknowledge({ reportId, stale, ...(later === undefined ? {} : { later }) });
      return;
    } catch (error) {
      log.warn({ err: error, nodeId: current.nodeId, taskId, attempt }, "taking a report failed");
      if (error instanceof Fault && error.code === "invalid_argument") {
        current.acknowledge({ reportId, stale: true });
        return;
      }
      await Bun.sleep(retryMs);
    }
  }
}
