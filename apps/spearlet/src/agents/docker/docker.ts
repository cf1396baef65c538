/**
 * DockerAgent: runs an attempt in a container of Docker Engine. The engine keeps a
 * container when the SPEARlet dies, so each is named and labelled by task, attempt
 * and node, and is followed again by a later run, reaped by its handle, or swept
 * if no handle of it was noted (T6). An engine that does not answer is a fault of
 * the node: `probe` withdraws the runtime until it is back.
 */
import type { Duplex } from "node:stream";
import type { Container, ContainerCreateOptions } from "dockerode";
import type { NodeId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import {
  AgentFailure,
  type Agent,
  type AttemptContext,
  type PreparedAttempt,
  type RunningAttempt,
} from "../agent.ts";
import {
  containerName,
  containerOptions,
  engineLogBytes,
  nodeLabel,
  openWorkDir,
  type DockerSpec,
} from "./container.ts";
import { Engine, EngineLost, isMissing, refusalOf } from "./engine.ts";
import { ensureImage, type FetchObject } from "./image.ts";
import { Output } from "./output.ts";
import { ContainerRun, type Handle } from "./run.ts";
import { ContainerGroup, EngineMeter, sharesCgroups } from "./usage.ts";

export type Network = NonNullable<DockerSpec["network"]>;

export interface DockerOptions {
  /** Written on every container. */
  nodeId: NodeId;
  socketPath: string;
  /** Registry credentials, in the format of Docker's `config.json`. */
  credentialsFile?: string;
  /** Brings an object that holds an image; default: the node loads none. */
  fetchObject?: FetchObject;
  /**
   * Networks that a task may ask for besides none. Default bridge: with the host's
   * it could reach what listens on the node's loopback.
   */
  networks?: readonly Network[];
  /** How long running attempts wait for a lost engine, in milliseconds. Default 60,000. */
  lossMs?: number;
  log: Log;
}

const defaultLossMs = 60_000;

/** Why the engine won't create or start a container: the task asks for what can't be. */
function refused(error: unknown): unknown {
  const refusal = refusalOf(error);
  return refusal === undefined
    ? error
    : new AgentFailure("container_refused", `Docker Engine: ${refusal.message}`, { cause: error });
}

export class DockerAgent implements Agent {
  readonly runtime = "docker";
  readonly #options: DockerOptions;
  readonly #engine: Engine;
  readonly #closed = new AbortController();
  /** Names of the containers that this run answers for. */
  readonly #live = new Set<string>();
  /** What could not be removed when it should have been, by name. */
  readonly #leftovers = new Map<string, Handle>();
  #answers: boolean | undefined;
  #sharesCgroups: boolean | undefined;

  constructor(options: DockerOptions) {
    this.#options = options;
    this.#engine = new Engine(options.socketPath);
  }

  async probe(): Promise<string | undefined> {
    const { log, socketPath } = this.#options;
    let version: string;
    try {
      version = await this.#engine.version();
    } catch (error) {
      if (this.#answers !== false) log.warn({ err: error }, "Docker Engine does not answer");
      this.#answers = false;
      // It may come back as another.
      this.#sharesCgroups = undefined;
      return undefined;
    }
    if (this.#answers !== true) log.info({ socketPath, version }, "Docker Engine answers");
    this.#answers = true;
    for (const handle of this.#leftovers.values()) await this.#removeOrKeep(handle);
    return version;
  }

  /**
   * Gets the image and creates the container. Throws `image_not_found`, `pull_failed`,
   * `bad_credentials_file`, `invalid_image`, `load_not_allowed`, `network_not_allowed`, `container_refused` (with the engine's
   * words) or `engine_unavailable` (with its socket).
   */
  async prepare(context: AttemptContext, signal: AbortSignal): Promise<PreparedAttempt> {
    const spec = this.#specOf(context);
    const { credentialsFile, fetchObject, nodeId } = this.#options;
    const sources = { credentialsFile, fetchObject };
    const image = await ensureImage(this.#engine, spec, sources, context, signal);
    await openWorkDir(context.workDir, spec.user ?? image.user);
    this.#sharesCgroups ??= await sharesCgroups(this.#engine);
    const name = containerName(context);
    const options = containerOptions(context, spec, image, nodeId);
    if (this.#sharesCgroups)
      options.HostConfig = { ...options.HostConfig, CgroupParent: `/${name}` };
    this.#live.add(name);
    try {
      const handle = { id: await this.#create(name, options), name, group: this.#sharesCgroups };
      const prepared = {
        start: () => this.#start(handle, context),
        cleanup: () => this.#removeOrKeep(handle),
      };
      if (signal.aborted) await prepared.cleanup();
      signal.throwIfAborted();
      return prepared;
    } catch (error) {
      this.#live.delete(name);
      // It may have been created nonetheless.
      if (error instanceof EngineLost) this.#leftovers.set(name, { id: name, name, group: false });
      throw refused(error);
    }
  }

  #specOf({ spec }: AttemptContext): DockerSpec {
    if (spec.docker === undefined) throw new TypeError("not a task of the docker runtime");
    const { network = "none" } = spec.docker;
    const allowed = new Set<Network>(["none", ...(this.#options.networks ?? ["bridge"])]);
    if (allowed.has(network)) return spec.docker;
    throw new AgentFailure(
      "network_not_allowed",
      `the node does not allow the network ${network}, but ${[...allowed].join(", ")}`,
    );
  }

  /** Creates the container, in place of one that an earlier run left of the same attempt. */
  async #create(name: string, options: ContainerCreateOptions): Promise<string> {
    const create = () => this.#engine.call((docker) => docker.createContainer(options));
    try {
      return (await create()).id;
    } catch (error) {
      const inTheWay = refusalOf(error)?.status === 409 ? await this.#listed({ name }) : [];
      if (inTheWay.length === 0) throw error;
      for (const handle of inTheWay) await this.#remove(handle);
      return (await create()).id;
    }
  }

  async #start(handle: Handle, context: AttemptContext): Promise<RunningAttempt> {
    const { stdin } = context;
    const hasStdin = stdin.byteLength > 0;
    const streams = { stream: true, stdin: hasStdin, stdout: true, stderr: true, hijack: true };
    const attached = (await this.#engine.call((docker) =>
      docker.getContainer(handle.id).attach(streams),
    )) as Duplex;
    try {
      await this.#engine.call((docker) => docker.getContainer(handle.id).start());
    } catch (error) {
      attached.destroy();
      throw refused(error);
    }
    if (hasStdin) {
      // Once the kernel has it the command gets it, even if the SPEARlet dies. That the
      // command ended without reading it is no error.
      await new Promise<void>((resolve) => attached.end(stdin, () => resolve()));
    }
    return this.#follow(handle, await this.#pidOf(handle), context, { attached });
  }

  /** Process id of the container's first process, as long as it has one. */
  async #pidOf({ id }: Handle): Promise<number | undefined> {
    try {
      const { State } = await this.#engine.call((docker) => docker.getContainer(id).inspect());
      return State.Pid === 0 ? undefined : State.Pid;
    } catch {
      return undefined;
    }
  }

  #follow(
    handle: Handle,
    pid: number | undefined,
    { output, limits, spec }: AttemptContext,
    { attached, kept }: { attached?: Duplex; kept?: AttemptContext["kept"] },
  ): ContainerRun {
    const { id, name, group } = handle;
    const deps = {
      engine: this.#engine,
      output: new Output(output, kept),
      meter: group ? new ContainerGroup(name) : new EngineMeter(this.#engine, id),
      lossMs: this.#options.lossMs ?? defaultLossMs,
      logBytes: engineLogBytes(spec),
      memoryBytes: limits.memoryBytes,
      closed: this.#closed.signal,
    };
    return new ContainerRun(handle, pid, deps, attached);
  }

  /** Throws `engine_unavailable`; the container is removed all the same once the engine is back. */
  async reap(handle: string): Promise<void> {
    const left = JSON.parse(handle) as Handle;
    this.#leftovers.set(left.name, left);
    await this.#remove(left);
  }

  async adopt(handle: string, context: AttemptContext): Promise<RunningAttempt | undefined> {
    const left = JSON.parse(handle) as Handle;
    try {
      const { State } = await this.#engine.call((docker) => docker.getContainer(left.id).inspect());
      if (State.Status === "created") return undefined;
      this.#live.add(left.name);
      const { kept } = context;
      return this.#follow(left, State.Pid === 0 ? undefined : State.Pid, context, { kept });
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async sweep(known: readonly string[]): Promise<number> {
    const spared = new Set(known.map((handle) => (JSON.parse(handle) as Handle).id));
    const strays = (await this.#listed({})).filter(
      ({ id, name }) => !spared.has(id) && !this.#live.has(name),
    );
    for (const stray of strays) await this.#remove(stray);
    return strays.length;
  }

  /** Containers of this node, running or not; with `name` only the one of that name. */
  async #listed({ name }: { name?: string }): Promise<Handle[]> {
    const filters = {
      label: [`${nodeLabel}=${this.#options.nodeId}`],
      ...(name === undefined ? {} : { name: [`^/${name}$`] }),
    };
    const found = await this.#engine.call((docker) =>
      docker.listContainers({ all: true, filters }),
    );
    return found.map(({ Id, Names }) => ({ id: Id, name: Names[0]?.slice(1) ?? Id, group: true }));
  }

  /** Ends and removes a container with its volumes and its group; none is no error. */
  async #remove({ id, name }: Handle): Promise<void> {
    const container = <T>(use: (container: Container) => Promise<T>) =>
      this.#engine.call((docker) => use(docker.getContainer(id)));
    try {
      await container((c) => c.remove({ force: true, v: true }));
    } catch (error) {
      const status = refusalOf(error)?.status;
      // Somebody else is removing it.
      if (status === 409) await container((c) => c.wait({ condition: "removed" }));
      else if (status !== 404) throw error;
    }
    await new ContainerGroup(name).remove();
    this.#live.delete(name);
    this.#leftovers.delete(name);
  }

  /** The same; what the engine can't do now is done when it answers again. */
  async #removeOrKeep(handle: Handle): Promise<void> {
    try {
      await this.#remove(handle);
    } catch (error) {
      this.#live.delete(handle.name);
      this.#leftovers.set(handle.name, handle);
      this.#options.log.warn(
        { err: error, container: handle.name },
        "container can't be removed yet",
      );
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    return Promise.resolve();
  }
}
