/**
 * Bytes by URL, from hosts that the node allows and no others, also where one of
 * them sends us on (S1); bounded, and kept only if they are what their digest says.
 */
import { AgentFailure } from "../agents/agent.ts";
import { writeNew } from "../objects/file.ts";

const mostBytes = 512 * 1024 * 1024;
const mostRedirects = 5;
/** For a host that stops talking in the middle, in milliseconds. */
const patienceMs = 60_000;

function checkHost({ host, href }: URL, hosts: readonly string[]): void {
  if (hosts.includes("any") || hosts.includes(host)) return;
  throw new AgentFailure(
    "module_host_not_allowed",
    `the node fetches no module from ${host}, which ${href} needs`,
  );
}

/** The answer at the end of all redirects. Throws `AgentFailure`. */
async function answerOf(
  url: string,
  hosts: readonly string[],
  signal: AbortSignal,
): Promise<Response> {
  let at = new URL(url);
  for (let hops = 0; hops <= mostRedirects; hops += 1) {
    checkHost(at, hosts);
    const response = await fetch(at, { redirect: "manual", signal });
    const location = response.headers.get("location");
    if (response.status < 300 || response.status > 399 || location === null) return response;
    await response.body?.cancel();
    at = new URL(location, at);
    if (!/^https?:$/.test(at.protocol)) break;
  }
  throw new AgentFailure("module_missing", `${url} leads nowhere`);
}

/** Throws when there is more, or nothing for too long. */
async function* bounded(
  url: string,
  body: ReadableStream<Uint8Array>,
  stalled: AbortController,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  const restart = () => setTimeout(() => stalled.abort(new Error("no data")), patienceMs);
  let timer = restart();
  try {
    for await (const piece of body) {
      clearTimeout(timer);
      timer = restart();
      size += piece.length;
      if (size > mostBytes) {
        throw new AgentFailure("module_too_large", `${url} is larger than ${mostBytes} bytes`);
      }
      yield piece;
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Writes what a URL names to `path`. Throws `AgentFailure`: `module_host_not_allowed`,
 * `module_missing`, `module_too_large`, `checksum_mismatch`; and system errors of the path.
 */
export async function downloadUrl(
  url: string,
  sha256: string,
  path: string,
  hosts: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const stalled = new AbortController();
  const both = AbortSignal.any([signal, stalled.signal]);
  let found: string;
  try {
    const response = await answerOf(url, hosts, both);
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      throw new AgentFailure("module_missing", `${url} answers ${response.status}`);
    }
    found = await writeNew(path, bounded(url, response.body, stalled));
  } catch (error) {
    signal.throwIfAborted();
    const { syscall, path: file } = error as NodeJS.ErrnoException;
    if (error instanceof AgentFailure || (syscall !== undefined && file !== undefined)) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new AgentFailure("module_missing", `can't fetch ${url}: ${why}`, { cause: error });
  }
  if (found === sha256) return;
  throw new AgentFailure("checksum_mismatch", `${url} has the digest ${found}`);
}
