/**
 * The connection to Docker Engine, and the one distinction that everything
 * here turns on: the engine answered that it won't, or it did not answer.
 */
import type { Readable } from "node:stream";
import Docker from "dockerode";
import { AgentFailure } from "../agent.ts";

/** No answer: the engine is not there, or went away in the middle. */
export class EngineLost extends AgentFailure {
  constructor(socketPath: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super("engine_unavailable", `Docker Engine at ${socketPath} does not answer: ${why}`, {
      nodeFault: true,
      cause,
    });
    this.name = "EngineLost";
  }
}

/** An answer that is an error, in the engine's words. */
export interface Refusal {
  status: number;
  message: string;
}

/** What the engine answered; undefined if `error` is not an answer of the engine. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (!(error instanceof Error) || !("statusCode" in error)) return undefined;
  const { json } = error as { json?: { message?: unknown } | null };
  const message =
    typeof json?.message === "string"
      ? json.message
      : error.message.replace(/^\(HTTP code \d+\) .*? - /, "");
  return { status: Number(error.statusCode), message: message.trim() };
}

/** True if the engine says that there is no such thing. */
export function isMissing(error: unknown): boolean {
  return refusalOf(error)?.status === 404;
}

/** The socket that Docker's own client would use, as far as it is a Unix socket. */
export function defaultSocketPath(environment: Readonly<Record<string, string | undefined>>) {
  const host = environment["DOCKER_HOST"] ?? "";
  return host.startsWith("unix://") ? host.slice("unix://".length) : "/var/run/docker.sock";
}

/** What is used of dockerode's own connection. */
interface Modem {
  dial(request: object, done: (error: Error | null, stream: Readable) => void): void;
}

const probeTimeoutMs = 5_000;

export class Engine {
  readonly socketPath: string;
  readonly #docker: Docker;
  /** Gives up on an engine that takes calls and never answers. */
  readonly #impatient: Docker;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
    this.#docker = new Docker({ socketPath });
    this.#impatient = new Docker({ socketPath, timeout: probeTimeoutMs });
  }

  /**
   * Makes a call. Throws `EngineLost` without an answer, the signal's reason after
   * its abort, and dockerode's error for a refusal (see `refusalOf`).
   */
  async call<T>(make: (docker: Docker) => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await make(this.#docker);
    } catch (error) {
      signal?.throwIfAborted();
      throw refusalOf(error) === undefined ? new EngineLost(this.socketPath, error) : error;
    }
  }

  /**
   * What the log of a container holds now. As a stream, which dockerode offers only for
   * logs that are followed; and not from attaching, which without a stream leaves an end
   * open in the engine that blocks the container for good.
   */
  logSoFar(id: string): Promise<Readable> {
    return this.call(
      ({ modem }) =>
        new Promise<Readable>((resolve, reject) => {
          const request = {
            path: `/containers/${id}/logs?`,
            method: "GET",
            isStream: true,
            options: { stdout: true, stderr: true },
            statusCodes: { 200: true, 404: "no such container", 500: "server error" },
          };
          (modem as Modem).dial(request, (error, stream) =>
            error === null ? resolve(stream) : reject(error),
          );
        }),
    );
  }

  /** Version of the engine; throws `EngineLost` after five seconds without an answer. */
  async version(): Promise<string> {
    const { Version } = await this.call(() => this.#impatient.version());
    return Version;
  }
}
