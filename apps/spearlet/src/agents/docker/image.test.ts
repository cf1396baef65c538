import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentialsFor, parseReference } from "./image.ts";

test("a reference names its registry, and a tag is never left open", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  const cases: Record<string, [name: string, registry: string]> = {
    debian: ["debian:latest", "docker.io"],
    "debian:12": ["debian:12", "docker.io"],
    "grafana/loki": ["grafana/loki:latest", "docker.io"],
    "ghcr.io/a/b": ["ghcr.io/a/b:latest", "ghcr.io"],
    "localhost/a": ["localhost/a:latest", "localhost"],
    "127.0.0.1:5000/a/b:2": ["127.0.0.1:5000/a/b:2", "127.0.0.1:5000"],
    "host:5000/a": ["host:5000/a:latest", "host:5000"],
    [`ghcr.io/a@${digest}`]: [`ghcr.io/a@${digest}`, "ghcr.io"],
  };
  for (const [image, [name, registry]] of Object.entries(cases)) {
    expect(parseReference(image)).toEqual({ name, registry });
  }
});

test("credentials come from a file as docker login writes it", async () => {
  const dir = await mkdtemp(join(tmpdir(), "spear-credentials-"));
  const file = join(dir, "config.json");
  try {
    const auths = {
      "https://index.docker.io/v1/": { auth: btoa("me:a:b") },
      "host:5000": { auth: btoa("you:secret") },
      "ghcr.io": { identitytoken: "token" },
    };
    await Bun.write(file, JSON.stringify({ auths }));
    expect(await credentialsFor("docker.io", file)).toEqual({
      username: "me",
      password: "a:b",
      serveraddress: "https://index.docker.io/v1/",
    });
    expect(await credentialsFor("host:5000", file)).toEqual({
      username: "you",
      password: "secret",
      serveraddress: "host:5000",
    });
    expect(await credentialsFor("ghcr.io", file)).toEqual({
      identitytoken: "token",
      serveraddress: "ghcr.io",
    });
    expect(await credentialsFor("quay.io", file)).toBeUndefined();
    expect(await credentialsFor("quay.io", undefined)).toBeUndefined();

    await Bun.write(file, "{");
    const failure = { code: "bad_credentials_file", message: expect.stringContaining(file) };
    await expect(credentialsFor("quay.io", file)).rejects.toMatchObject({
      failure,
      nodeFault: true,
    });
  } finally {
    await rm(dir, { recursive: true });
  }
});
