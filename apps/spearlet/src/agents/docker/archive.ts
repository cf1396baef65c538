/**
 * What names an image archive gives, as `docker save` writes it. The engine would
 * give them all to what is in there, over whatever bears them now; so they are
 * read first, and an archive whose entries could be understood in two ways is none.
 */
import { open, type FileHandle } from "node:fs/promises";
import { AgentFailure } from "../agent.ts";

const blockBytes = 512;
/** Largest of the files that hold names. */
const mostNamesBytes = 4 * 1024 * 1024;
const nameFiles = new Set(["manifest.json", "repositories", "index.json"]);
/** Annotations of an index that name an image. */
const nameAnnotations = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

function invalid(why: string): AgentFailure {
  return new AgentFailure("invalid_image", `the image archive ${why}`);
}

function text(header: Buffer, from: number, length: number): string {
  const end = header.indexOf(0, from);
  return header.toString("utf8", from, end < 0 || end > from + length ? from + length : end);
}

interface Entry {
  name: string;
  type: string;
  sizeBytes: number;
  /** Where its bytes begin. */
  offset: number;
}

async function* entriesOf(file: FileHandle): AsyncGenerator<Entry> {
  const header = Buffer.alloc(blockBytes);
  for (let at = 0; ;) {
    const { bytesRead } = await file.read(header, 0, blockBytes, at);
    if (bytesRead === 0 || header.every((byte) => byte === 0)) return;
    if (bytesRead < blockBytes || !text(header, 257, 6).startsWith("ustar")) {
      throw invalid("is no tar");
    }
    const prefix = text(header, 345, 155);
    const name = `${prefix === "" ? "" : `${prefix}/`}${text(header, 0, 100)}`;
    const size = text(header, 124, 12).trim();
    if (!/^[0-7]{1,12}$/.test(size)) throw invalid(`has no plain size for ${name}`);
    const entry = {
      name: name.replace(/^(?:\.\/)+/, ""),
      type: text(header, 156, 1),
      sizeBytes: Number.parseInt(size, 8),
      offset: at + blockBytes,
    };
    yield entry;
    at = entry.offset + Math.ceil(entry.sizeBytes / blockBytes) * blockBytes;
  }
}

/** A name in full, as the engine knows it. */
function inFull(name: string): string {
  const short = name.replace(/^(?:index\.)?docker\.io\/(?:library\/)?/, "");
  return /[:@]/.test(short.slice(short.lastIndexOf("/") + 1)) ? short : `${short}:latest`;
}

/** The names in one of the files that hold some. */
function namesIn(file: string, content: unknown): string[] {
  if (file === "manifest.json") {
    return (content as { RepoTags?: string[] | null }[]).flatMap(({ RepoTags }) => RepoTags ?? []);
  }
  if (file === "repositories") {
    const tags = Object.entries(content as Record<string, Record<string, string>>);
    return tags.flatMap(([name, of]) => Object.keys(of).map((tag) => `${name}:${tag}`));
  }
  const { manifests = [] } = content as { manifests?: { annotations?: Record<string, string> }[] };
  return manifests.flatMap(({ annotations = {} }) => {
    const given = nameAnnotations.map((key) => annotations[key]);
    // The second is often only a tag, which means nothing by itself.
    return given.filter((name) => name !== undefined && /[/:]/.test(name)) as string[];
  });
}

/** Every name that the archive would give. Throws `AgentFailure` `invalid_image`. */
export async function imageNames(path: string): Promise<Set<string>> {
  await using file = await open(path);
  const names = new Set<string>();
  for await (const { name, type, sizeBytes, offset } of entriesOf(file)) {
    // Such entries change the name or size of the next, in ways that readers differ about.
    if (/[xgLK]/.test(type)) throw invalid("has extended headers");
    if (!nameFiles.has(name)) continue;
    if (sizeBytes > mostNamesBytes) throw invalid(`has a ${name} that is too large`);
    const bytes = Buffer.alloc(sizeBytes);
    await file.read(bytes, 0, sizeBytes, offset);
    try {
      for (const one of namesIn(name, JSON.parse(bytes.toString()))) names.add(inFull(one));
    } catch {
      throw invalid(`has a broken ${name}`);
    }
  }
  return names;
}

/** Throws `AgentFailure` unless the archive gives that name and no other. */
export async function checkNames(path: string, image: string): Promise<void> {
  const names = await imageNames(path);
  const wanted = inFull(image);
  const others = [...names].filter((name) => name !== wanted);
  if (others.length > 0) throw invalid(`also holds ${others.join(", ")}`);
  if (!names.has(wanted)) throw invalid(`does not hold ${wanted}`);
}
