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

interface Request {
  method: "GET" | "POST";
  path: string;
  options?: object;
  abortSignal?: AbortSignal;
}

/** What is used of dockerode's own connection. */
interface Modem {
  dial(request: object, done: (error: Error | null, stream: Readable) => void): void;
}

const probeTimeoutMs = 5_000;

export class Engine {
  readonly socketPath: string;
  readonly #docker: Docker;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
    this.#docker = new Docker({ socketPath });
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
   * A call whose answer is read as it comes. Of dockerode's own, some hold it all in
   * memory, and none ever settles if the engine goes away in the middle of an answer.
   */
  #stream(request: Request): Promise<Readable> {
    const statusCodes = { 200: true, 404: "no such container", 500: "server error" };
    return this.call(
      ({ modem }) =>
        new Promise<Readable>((resolve, reject) => {
          (modem as Modem).dial({ ...request, statusCodes, isStream: true }, (error, stream) =>
            error === null ? resolve(stream) : reject(error),
          );
        }),
    );
  }

  async #json(request: Request): Promise<Record<string, unknown>> {
    const answer = await this.#stream(request);
    return this.call(async () => {
      let text = "";
      for await (const chunk of answer) text += String(chunk);
      return JSON.parse(text) as Record<string, unknown>;
    });
  }

  /** What the log of a container holds now, multiplexed. */
  logSoFar(id: string): Promise<Readable> {
    // Not by attaching: without a stream that leaves an end open in the engine, which blocks
    // the container's output for good.
    const options = { stdout: true, stderr: true };
    return this.#stream({ method: "GET", path: `/containers/${id}/logs?`, options });
  }

  /** Exit code of a container once it has ended. */
  async wait(id: string, abortSignal: AbortSignal): Promise<number> {
    const path = `/containers/${id}/wait`;
    return Number((await this.#json({ method: "POST", path, abortSignal }))["StatusCode"]);
  }

  /** Version of the engine; throws `EngineLost` after five seconds without an answer. */
  async version(): Promise<string> {
    const abortSignal = AbortSignal.timeout(probeTimeoutMs);
    return String((await this.#json({ method: "GET", path: "/version", abortSignal }))["Version"]);
  }
}
