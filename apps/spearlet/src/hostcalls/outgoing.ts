/**
 * HTTP requests to hosts that were granted. A name is resolved once and that
 * address is connected to, so that what was checked is what is reached; an address
 * of this machine or of its networks is refused unless a grant names exactly that
 * host (S1). Redirects are given back, not followed.
 */
import { lookup } from "node:dns/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP } from "node:net";
import { Fault } from "@spear/shared/fault.ts";
import { hostcallLimits, type Gives, type Takes } from "@spear/shared/hostcalls.ts";
import { collect, type Body } from "./body.ts";

const defaultTimeoutMs = 30_000;

/** Addresses that are not the public internet's. */
const inner = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
] as const) {
  inner.addSubnet(net, prefix, "ipv4");
}
for (const [net, prefix] of [
  ["::", 127],
  ["64:ff9b::", 96],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  inner.addSubnet(net, prefix, "ipv6");
}

/** True for an address that only this machine or its networks have. */
export function isInner(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return inner.check(mapped, "ipv4");
  return inner.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** The URL of a request. Throws `invalid_argument`. */
export function urlOf({ url: text }: Takes<"http.request">): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    throw new Fault("invalid_argument", "url: must be an http:// or https:// URL without a user", {
      field: "url",
    });
  }
  return url;
}

/** What a grant is asked for, as `api.example.org:443`. */
export function hostOf({ hostname, port, protocol }: URL): string {
  return `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`;
}

async function addressFor(
  url: URL,
  innerAllowed: boolean,
): Promise<{ address: string; family: number }> {
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const found = await lookup(name, { all: true }).catch((error: unknown) => {
    throw new Fault("unavailable", `${name} can't be resolved`, { cause: error });
  });
  const usable = found.find(({ address }) => innerAllowed || !isInner(address));
  if (usable !== undefined) return usable;
  throw new Fault("permission_denied", `${name} is an address of the node's own networks`, {
    field: "url",
    help: `it can be granted by its exact name only, as http:${hostOf(url)}`,
  });
}

/** Headers that say how this connection goes, and are not a task's to set. */
const ownHeaders = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Sends a request that was granted. `innerAllowed`: the grant names exactly this
 * host. Throws `permission_denied`, `unavailable`, `timeout`.
 */
export async function send(
  asked: Takes<"http.request">,
  body: Body,
  innerAllowed: boolean,
  signal: AbortSignal,
): Promise<{ result: Gives<"http.request">; body: AsyncIterable<Uint8Array> }> {
  const url = urlOf(asked);
  const bytes = await collect(body, hostcallLimits.httpBodyBytes, "the request's body");
  const target = await addressFor(url, innerAllowed);
  const headers = Object.fromEntries(
    Object.entries(asked.headers ?? {}).filter(([name]) => !ownHeaders.has(name.toLowerCase())),
  );
  const timeout = AbortSignal.timeout(asked.timeoutMs ?? defaultTimeoutMs);
  const either = AbortSignal.any([signal, timeout]);
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const start = url.protocol === "https:" ? httpsRequest : httpRequest;
      const request = start(
        url,
        {
          method: asked.method ?? "GET",
          headers: {
            ...headers,
            ...(bytes.length === 0 ? {} : { "content-length": String(bytes.length) }),
          },
          signal: either,
          agent: false,
          lookup: (_name, options, callback) => {
            if (options.all === true) callback(null, [target]);
            else callback(null, target.address, target.family);
          },
        },
        resolve,
      );
      request.once("error", reject);
      request.end(bytes);
    });
    return {
      result: { status: response.statusCode ?? 0, headers: headersOf(response) },
      body: response,
    };
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.aborted) throw new Fault("timeout", `${url.host} did not answer in time`);
    throw new Fault("unavailable", `${url.host} does not answer`, { cause: error });
  }
}

function headersOf(response: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(", ") : (value ?? ""),
    ]),
  );
}
