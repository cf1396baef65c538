/** Pulling images, from Debian's registry and from one that is slow on purpose. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  docker,
  sharedDocker,
  startRegistry,
  type TestDocker,
  type TestRegistry,
} from "../../../../../tests/docker.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { DockerAgent } from "./docker.ts";
import { newAttempt } from "./testing.ts";

const never = new AbortController().signal;
let engine: TestDocker;
let registry: TestRegistry;
let dir: string;
/** Name of the image in the registry, without a tag. */
let name: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "spear-pull-"));
  engine = await sharedDocker();
  registry = await startRegistry("me", "right");
  name = `${registry.address}/team/tool`;
  await Bun.write(credentials("right"), configFor("right"));
  await Bun.write(credentials("wrong"), configFor("wrong"));
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

const credentials = (password: string) => join(dir, password, "config.json");
const configFor = (password: string) =>
  JSON.stringify({ auths: { [registry.address]: { auth: btoa(`me:${password}`) } } });

const agentWith = (credentialsFile?: string) =>
  new DockerAgent({
    nodeId: systemIds.next("node"),
    socketPath: engine.socketPath,
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
    log: silentLog,
  });

const run = (...args: string[]) => docker(engine.socketPath, ...args);

/** Puts an image whose command says `text` into the registry, and not into the engine. */
async function push(tag: string, text: string): Promise<void> {
  const container = await run("create", engine.image);
  await run("commit", "--change", `CMD ["echo", "${text}"]`, container, `${name}:${tag}`);
  await run("rm", container);
  await docker(engine.socketPath, "--config", join(dir, "right"), "push", "-q", `${name}:${tag}`);
  await run("image", "rm", `${name}:${tag}`);
}

/** Runs the image's own command; returns what it and SPEAR said. */
async function say(image: string, pull?: "always" | "missing" | "never") {
  const context = await newAttempt(image, [], {
    workDir: dir,
    docker: pull === undefined ? {} : { pull },
  });
  const prepared = await agentWith(credentials("right")).prepare(context, never);
  await (
    await prepared.start()
  ).exit;
  await prepared.cleanup();
  return { said: context.output.text("stdout"), system: context.output.text("system") };
}

const pulled = (image: string) => `pulling ${image}\npulled ${image}\n`;

test("an image is pulled by the policy, and only its latest without a tag", async () => {
  await push("latest", "one");
  await push("old", "zero");
  expect(await say(name)).toEqual({ said: "one\n", system: pulled(`${name}:latest`) });
  expect(await run("images", "--format", "{{.Tag}}", name)).toBe("latest");
  expect(await say(name, "never")).toEqual({ said: "one\n", system: "" });

  const [digest = ""] = JSON.parse(
    await run("inspect", "--format", "{{json .RepoDigests}}", `${name}:latest`),
  ) as string[];
  await run("image", "rm", `${name}:latest`);
  await push("latest", "two");
  expect(await say(digest)).toEqual({ said: "one\n", system: pulled(digest) });
  await run("image", "rm", digest);
  expect(await say(name, "always")).toEqual({ said: "two\n", system: pulled(`${name}:latest`) });
  expect(await say(name, "missing")).toEqual({ said: "two\n", system: "" });
  await run("image", "rm", `${name}:latest`);
});

test("each way in which a pull fails is told apart", async () => {
  const fails = async (image: string, credentialsFile?: string) => {
    const context = await newAttempt(image, [], { workDir: dir });
    const error: unknown = await agentWith(credentialsFile)
      .prepare(context, never)
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
    return (error as { failure?: unknown }).failure;
  };
  const { address } = registry;
  expect(await fails(`${name}:1`)).toEqual({
    code: "pull_failed",
    message: `can't pull ${name}:1: ${address} asks for credentials and none are set`,
  });
  expect(await fails(`${name}:1`, credentials("wrong"))).toEqual({
    code: "pull_failed",
    message: `can't pull ${name}:1: ${address} refused the credentials`,
  });
  expect(await fails(`${name}:1`, credentials("right"))).toEqual({
    code: "image_not_found",
    message: expect.stringContaining(`there is no image ${name}:1: manifest`),
  });
  expect(await fails("127.0.0.1:1/tool")).toEqual({
    code: "pull_failed",
    message: expect.stringContaining("can't pull 127.0.0.1:1/tool:latest: "),
  });
  expect(await fails("Not/Lower:1")).toEqual({
    code: "image_not_found",
    message: expect.stringContaining("repository name must be lowercase"),
  });
});

const sha256 = (text: string) =>
  `sha256:${new Bun.CryptoHasher("sha256").update(text).digest("hex")}`;

test("a slow pull says how far it is, and ends when the attempt is cancelled", async () => {
  const layerBytes = 100_000_000;
  const layer = sha256("never whole");
  const config = JSON.stringify({ rootfs: { type: "layers", diff_ids: [layer] } });
  const type = "application/vnd.docker.distribution.manifest.v2+json";
  const part = (mediaType: string, size: number, digest: string) => ({ mediaType, size, digest });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: type,
    config: part("application/vnd.docker.container.image.v1+json", config.length, sha256(config)),
    layers: [part("application/vnd.docker.image.rootfs.diff.tar.gzip", layerBytes, layer)],
  });
  const gone = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    if (url.includes("/manifests/")) {
      response.writeHead(200, { "content-type": type }).end(manifest);
    } else if (url.endsWith(layer)) {
      response.writeHead(200, { "content-length": layerBytes });
      const slowly = setInterval(() => response.write(Buffer.alloc(1_200_000)), 20);
      response.on("close", () => {
        clearInterval(slowly);
        gone.resolve();
      });
    } else response.end(config);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const image = `127.0.0.1:${port}/slow:1`;
  const context = await newAttempt(image, [], { workDir: dir });
  const cancelled = new AbortController();
  const preparing = agentWith().prepare(context, cancelled.signal);
  await context.output.holds("system", " MB\n");
  expect(context.output.text("system")).toMatch(
    /^pulling \S+slow:1\npulling \S+slow:1: \d+\.\d of 100\.0 MB\n$/,
  );
  cancelled.abort(new Error("cancelled"));
  await expect(preparing).rejects.toThrow("cancelled");
  await gone.promise;
  server.close();
});
