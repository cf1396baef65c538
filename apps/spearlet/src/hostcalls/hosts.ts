/**
 * The hostcalls of this node's attempts: opened when an attempt is about to
 * start, closed when its command has ended. A task that grants nothing gets no
 * socket and no token at all.
 */
import { createHmac, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AttemptAudit } from "@spear/proto/gen/spear/sms/v1/node.ts";
import type { HostcallUse } from "@spear/shared/audit.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { OutputSink } from "../agents/agent.ts";
import { attemptKey, type AttemptId } from "../executions/attempt.ts";
import { Children } from "./children.ts";
import { HostSession, type HostDeps } from "./host.ts";
import type { ObjectSources } from "./objects.ts";
import { ClusterRedis } from "./redis.ts";
import { socketName, socketVariable, tokenVariable } from "./socket.ts";

/** Serves a session at a path for whoever has the token, until disposed. */
export type Serve = (
  session: HostSession,
  path: string,
  token: string,
  log: Log,
) => Promise<AsyncDisposable>;

export interface HostsOptions {
  nodeId: NodeId;
  dataDir: string;
  smsAddress: string;
  sources: ObjectSources;
  serve: Serve;
  log: Log;
}

/** The hostcalls of one attempt. */
export interface OpenHost extends AsyncDisposable {
  readonly session: HostSession;
  /** What the command's environment must have. */
  readonly env: Readonly<Record<string, string>>;
}

export class Hosts implements Disposable {
  readonly cluster: ClusterRedis;
  readonly #options: HostsOptions;
  readonly #deps: HostDeps;
  readonly #children: Children;
  readonly #secret: Buffer;
  #send: ((audit: AttemptAudit) => void) | undefined;

  constructor(options: HostsOptions) {
    const { nodeId, dataDir, smsAddress, sources, log } = options;
    this.#options = options;
    this.#secret = secretIn(dataDir);
    this.cluster = new ClusterRedis(log);
    this.#children = new Children(smsAddress);
    this.#deps = {
      nodeId,
      cluster: this.cluster,
      children: this.#children,
      sources,
      onAudit: (id, uses) => this.#tell(id, uses),
    };
  }

  #tell({ taskId, attempt }: AttemptId, uses: HostcallUse[]): void {
    this.#send?.({ taskId, attempt, uses });
  }

  /** A session with SMS is open. What is lost without one comes with the attempt's exit. */
  attach(send: (audit: AttemptAudit) => void): void {
    this.#send = send;
  }

  /** The session is gone. */
  detach(): void {
    this.#send = undefined;
  }

  /**
   * Opens the hostcalls of an attempt, with a socket in its work directory unless it
   * has a pipe; undefined if its spec grants none. Throws `unavailable`.
   */
  async open(
    id: AttemptId,
    spec: TaskSpec,
    output: OutputSink,
    socketDir: string | undefined,
  ): Promise<OpenHost | undefined> {
    if ((spec.hostcalls ?? []).length === 0) return undefined;
    const session = new HostSession(id, spec, output, this.#deps, socketDir === undefined);
    if (socketDir === undefined) {
      return { session, env: {}, [Symbol.asyncDispose]: () => session.close() };
    }
    const path = join(socketDir, socketName);
    const token = this.#tokenOf(id);
    const server = await this.#options.serve(session, path, token, this.#options.log);
    return {
      session,
      env: { [socketVariable]: path, [tokenVariable]: token },
      [Symbol.asyncDispose]: async () => {
        await session.close();
        await server[Symbol.asyncDispose]();
      },
    };
  }

  /** An attempt's token: its own, and the same for a later run that takes it over. */
  #tokenOf(id: AttemptId): string {
    return createHmac("sha256", this.#secret).update(attemptKey(id)).digest("base64url");
  }

  [Symbol.dispose](): void {
    this.#children[Symbol.dispose]();
    this.cluster[Symbol.dispose]();
  }
}

/** The node's secret, made on first use. */
function secretIn(dataDir: string): Buffer {
  const path = join(dataDir, "host-secret");
  if (!existsSync(path)) writeFileSync(path, randomBytes(32), { mode: 0o600 });
  return readFileSync(path);
}
