/**
 * Images: what a reference means, whose credentials go with it, and getting it
 * by the task's policy with progress on the attempt's `system` stream.
 */
import { createReadStream } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import type Docker from "dockerode";
import type { TaskSpec } from "@spear/shared/task.ts";
import { AgentFailure, type AttemptContext, type OutputSink } from "../agent.ts";
import { checkNames } from "./archive.ts";
import { EngineLost, refusalOf, type Engine } from "./engine.ts";

export interface ImageReference {
  /** With its tag or digest: without one the engine would pull every tag. */
  name: string;
  /** Host, and port if given, of the registry. */
  registry: string;
}

const dockerHub = "docker.io";

/** `debian` → `debian:latest` of `docker.io`; `localhost:5000/a/b@sha256:…` as it is. */
export function parseReference(image: string): ImageReference {
  const [first = "", ...rest] = image.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const last = rest.at(-1) ?? first;
  return {
    name: /[:@]/.test(last) ? image : `${image}:latest`,
    registry: isHost ? first : dockerHub,
  };
}

/** `https://index.docker.io/v1/` → `docker.io`. */
function registryOfKey(key: string): string {
  const host = key.replace(/^https?:\/\//, "").split("/")[0] ?? "";
  return host === "index.docker.io" || host === "registry-1.docker.io" ? dockerHub : host;
}

interface CredentialsFile {
  auths?: Record<string, { auth?: string; identitytoken?: string }>;
}

/**
 * Credentials for a registry from a file in the format of Docker's `config.json`,
 * as `docker login` writes it; undefined if it has none. It is read at each pull,
 * so that a new login counts at once. Throws `bad_credentials_file`.
 */
export async function credentialsFor(
  registry: string,
  file: string | undefined,
): Promise<Docker.AuthConfigObject | undefined> {
  if (file === undefined) return undefined;
  let auths: CredentialsFile["auths"];
  try {
    ({ auths } = JSON.parse(await readFile(file, "utf8")) as CredentialsFile);
  } catch (error) {
    throw new AgentFailure("bad_credentials_file", `can't read registry credentials from ${file}`, {
      nodeFault: true,
      cause: error,
    });
  }
  const entry = Object.entries(auths ?? {}).find(([key]) => registryOfKey(key) === registry)?.[1];
  if (entry === undefined) return undefined;
  const serveraddress = registry === dockerHub ? "https://index.docker.io/v1/" : registry;
  if (entry.identitytoken !== undefined) {
    return { identitytoken: entry.identitytoken, serveraddress };
  }
  const pair = Buffer.from(entry.auth ?? "", "base64").toString();
  const colon = pair.indexOf(":");
  return { username: pair.slice(0, colon), password: pair.slice(colon + 1), serveraddress };
}

/** One message of a pull, as the engine streams them. */
interface PullMessage {
  stream?: string;
  id?: string;
  status?: string;
  error?: string;
  progressDetail?: { current?: number; total?: number };
}

const longestMessageBytes = 1024 * 1024;

/** The engine's stream of JSON documents, one a line. */
async function* pullMessages(stream: AsyncIterable<Uint8Array>): AsyncGenerator<PullMessage> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    if (text.length > longestMessageBytes) throw new Error("the engine sent an endless line");
    for (const line of lines) {
      if (line.trim() !== "") yield JSON.parse(line) as PullMessage;
    }
  }
}

const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);

/** Sums up what the layers report, at most once a second. */
class PullProgress {
  readonly #layers = new Map<string, { current: number; total: number }>();
  #saidMs = performance.now();

  /** A line for people, if it is time for one. */
  see({ id, status, progressDetail }: PullMessage): string | undefined {
    const { current, total } = progressDetail ?? {};
    if (id === undefined || status !== "Downloading" || !current || !total) return undefined;
    this.#layers.set(id, { current, total });
    if (performance.now() - this.#saidMs < 1_000) return undefined;
    this.#saidMs = performance.now();
    const layers = [...this.#layers.values()];
    const sum = (of: "current" | "total") => layers.reduce((bytes, layer) => bytes + layer[of], 0);
    return `${megabytes(sum("current"))} of ${megabytes(sum("total"))} MB`;
  }
}

/** Why a pull failed, from the engine's words: it has no codes for it. */
function pullFailure(ref: ImageReference, words: string, hadCredentials: boolean): AgentFailure {
  if (/unauthorized|no basic auth credentials|authentication required/i.test(words)) {
    const why = hadCredentials
      ? "refused the credentials"
      : "asks for credentials and none are set";
    return new AgentFailure("pull_failed", `can't pull ${ref.name}: ${ref.registry} ${why}`);
  }
  if (/manifest unknown|not found|does not exist|invalid reference/i.test(words)) {
    return new AgentFailure("image_not_found", `there is no image ${ref.name}: ${words}`);
  }
  return new AgentFailure("pull_failed", `can't pull ${ref.name}: ${words}`);
}

async function pull(
  engine: Engine,
  ref: ImageReference,
  credentials: Docker.AuthConfigObject | undefined,
  output: OutputSink,
  signal: AbortSignal,
): Promise<void> {
  const say = (text: string) => output.write("system", Buffer.from(`${text}\n`));
  await say(`pulling ${ref.name}`);
  const progress = new PullProgress();
  try {
    const stream = await engine.call(
      (docker) =>
        docker.createImage(credentials ?? {}, { fromImage: ref.name, abortSignal: signal }),
      signal,
    );
    for await (const message of pullMessages(stream as Readable)) {
      if (message.error !== undefined) {
        throw pullFailure(ref, message.error, credentials !== undefined);
      }
      const line = progress.see(message);
      if (line !== undefined) await say(`pulling ${ref.name}: ${line}`);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof AgentFailure) throw error;
    const refusal = refusalOf(error);
    if (refusal === undefined) throw new EngineLost(engine.socketPath, error);
    throw pullFailure(ref, refusal.message, credentials !== undefined);
  }
  await say(`pulled ${ref.name}`);
}

/** Brings an object to a path where nothing is. */
export type FetchObject = (object: string, path: string, signal: AbortSignal) => Promise<void>;

/** Where images come from. */
export interface ImageSources {
  /** Registry credentials, in the format of Docker's `config.json`. */
  credentialsFile: string | undefined;
  /** Undefined: the node loads no images from objects. */
  fetchObject: FetchObject | undefined;
}

/** Gives the engine the image that an object holds, under its one name. */
async function load(
  engine: Engine,
  ref: ImageReference,
  object: string,
  { fetchObject }: ImageSources,
  { output, workDir }: Pick<AttemptContext, "output" | "workDir">,
  signal: AbortSignal,
): Promise<void> {
  if (fetchObject === undefined) {
    throw new AgentFailure("load_not_allowed", "the node loads no images from objects");
  }
  const say = (text: string) => output.write("system", Buffer.from(`${text}\n`));
  // Beside the work directory: the command sees none of it, and a later run removes it.
  const path = `${workDir}.image`;
  try {
    await say(`loading ${ref.name} from ${object}`);
    await fetchObject(object, path, signal);
    await checkNames(path, ref.name);
    const stream = await engine.call(
      (docker) => docker.loadImage(createReadStream(path), { quiet: true }),
      signal,
    );
    for await (const { error } of pullMessages(stream as Readable)) {
      if (error !== undefined) throw new AgentFailure("invalid_image", `Docker Engine: ${error}`);
    }
    await say(`loaded ${ref.name}`);
  } catch (error) {
    signal.throwIfAborted();
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    throw new AgentFailure("invalid_image", `Docker Engine: ${refusal.message}`);
  } finally {
    await rm(path, { force: true });
  }
}

export interface Image {
  name: string;
  /** User that the image sets; empty: root. */
  user: string;
}

async function inspect(engine: Engine, name: string): Promise<Image | undefined> {
  try {
    const { Config } = await engine.call((docker) => docker.getImage(name).inspect());
    return { name, user: Config.User };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal?.status === 404) return undefined;
    if (refusal?.status !== 400) throw error;
    throw new AgentFailure("image_not_found", `there is no image ${name}: ${refusal.message}`);
  }
}

/**
 * The image, pulled or loaded if the policy says so. Throws `image_not_found`,
 * `pull_failed`, `bad_credentials_file`, `invalid_image`, `load_not_allowed` or
 * `engine_unavailable`, and what fetching an object throws.
 */
export async function ensureImage(
  engine: Engine,
  { image, pull: policy = "missing", load: object }: NonNullable<TaskSpec["docker"]>,
  sources: ImageSources,
  context: Pick<AttemptContext, "output" | "workDir">,
  signal: AbortSignal,
): Promise<Image> {
  const ref = parseReference(image);
  if (policy !== "always") {
    const found = await inspect(engine, ref.name);
    if (found !== undefined) return found;
    if (policy === "never") {
      throw new AgentFailure(
        "image_not_found",
        `there is no image ${ref.name} on the node, and its pull policy is never`,
      );
    }
  }
  if (object === undefined) {
    const credentials = await credentialsFor(ref.registry, sources.credentialsFile);
    await pull(engine, ref, credentials, context.output, signal);
  } else await load(engine, ref, object, sources, context, signal);
  const brought = await inspect(engine, ref.name);
  if (brought !== undefined) return brought;
  throw new AgentFailure("image_not_found", `${ref.name} was removed right after it came`);
}
