/** The wire of hostcalls for processes and containers: HTTP over the node's Unix socket. */
import { request, type IncomingMessage } from "node:http";
import { pipeline } from "node:stream/promises";
import type { Problem } from "@spear/shared/fault.ts";
import type { Gives, HostcallName, Takes } from "@spear/shared/hostcalls.ts";

export type Bytes = Uint8Array | AsyncIterable<Uint8Array>;

/** A hostcall that the node refused or could not do. */
export class HostcallError extends Error {
  /** As `permission_denied`, `object_not_found`, `stale_attempt`. */
  readonly code: string;
  /** What can be done about it. */
  readonly help: string | undefined;
  /** Trying again may help. */
  readonly retryable: boolean;

  constructor({ code, detail, title, help, retryable }: Partial<Problem>) {
    super(detail ?? title ?? "the hostcall failed");
    this.name = "HostcallError";
    this.code = code ?? "internal";
    this.help = help;
    this.retryable = retryable ?? false;
  }
}

export interface Reply<N extends HostcallName> {
  result: Gives<N>;
  /** Bytes that came with it; to be read to their end. */
  body: AsyncIterable<Uint8Array>;
}

export class Socket {
  readonly #path: string;
  readonly #token: string;

  constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
  }

  /** Makes a call whose answer is JSON. Throws `HostcallError`. */
  async call<N extends HostcallName>(name: N, params: Takes<N>): Promise<Gives<N>> {
    const response = await this.#send(`/v1/${name}`, Buffer.from(JSON.stringify(params)));
    return JSON.parse((await collect(response)).toString()) as Gives<N>;
  }

  /** Makes a call that takes bytes and whose answer is JSON. Throws `HostcallError`. */
  async give<N extends HostcallName>(name: N, params: Takes<N>, bytes: Bytes): Promise<Gives<N>> {
    const response = await this.#send(`/v1/${name}?params=${encode(params)}`, bytes);
    return JSON.parse((await collect(response)).toString()) as Gives<N>;
  }

  /** Makes a call whose answer is bytes. Throws `HostcallError`. */
  async take<N extends HostcallName>(name: N, params: Takes<N>, bytes?: Bytes): Promise<Reply<N>> {
    const response =
      bytes === undefined
        ? await this.#send(`/v1/${name}`, Buffer.from(JSON.stringify(params)))
        : await this.#send(`/v1/${name}?params=${encode(params)}`, bytes);
    const result = decodeURIComponent(String(response.headers["x-spear-result"]));
    return { result: JSON.parse(result) as Gives<N>, body: response };
  }

  async #send(path: string, body: Bytes): Promise<IncomingMessage> {
    const answered = Promise.withResolvers<IncomingMessage>();
    const outgoing = request(
      {
        socketPath: this.#path,
        path,
        method: "POST",
        headers: { authorization: `Bearer ${this.#token}` },
      },
      answered.resolve,
    );
    outgoing.once("error", answered.reject);
    if (body instanceof Uint8Array) outgoing.end(body);
    // An answer before the end says that the rest is not wanted.
    else pipeline(body, outgoing).catch(answered.reject);
    const response = await answered.promise;
    if (response.statusCode === 200) return response;
    const text = (await collect(response)).toString();
    throw new HostcallError(JSON.parse(text) as Partial<Problem>);
  }
}

const encode = (params: unknown) => encodeURIComponent(JSON.stringify(params));

/** All bytes of a body. */
export async function collect(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}
