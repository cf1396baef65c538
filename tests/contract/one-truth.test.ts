/** REST, gRPC and S3 see one truth: what one of them puts, all of them read, list and delete. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { credentials } from "@grpc/grpc-js";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3ServiceException,
  type S3Client,
} from "@aws-sdk/client-s3";
import { ObjectStoreClient } from "@spear/proto/gen/spear/store/v1/store.ts";
import { Fault, type Problem } from "@spear/shared/fault.ts";
import { grpcFault, messages, unary } from "@spear/shared/grpc/client.ts";
import { s3Client } from "../s3/client.ts";
import { startTestStore, type TestStore } from "../store.ts";

const bucket = "one-truth";

/** What a face tells of an object. */
interface Told {
  text: string;
  contentType: string;
  metadata: Record<string, string>;
  id: string;
}

/** One of the store's interfaces, as far as all of them go. Failures are Faults. */
interface Face {
  put(key: string, text: string): Promise<unknown>;
  get(key: string): Promise<Told>;
  list(): Promise<string[]>;
  remove(key: string): Promise<unknown>;
}

const contentType = "text/plain";
const metadata = { colour: "blue" };

function restFace(url: string): Face {
  const objects = `${url}/v1/buckets/${bucket}/objects`;
  const call = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(objects + path, init);
    if (!response.ok) throw Fault.fromProblem((await response.json()) as Problem);
    return response;
  };
  const at = (key: string) => `/${key.split("/").map(encodeURIComponent).join("/")}`;
  return {
    put: (key, body) =>
      call(at(key), {
        method: "PUT",
        body,
        headers: { "content-type": contentType, "x-spear-meta-colour": "blue" },
      }),
    get: async (key) => {
      const { headers, ...response } = await call(at(key)).then(async (answer) => ({
        headers: answer.headers,
        text: await answer.text(),
      }));
      return {
        text: response.text,
        contentType: headers.get("content-type") ?? "",
        metadata: { colour: headers.get("x-spear-meta-colour") ?? "" },
        id: headers.get("x-spear-object-id") ?? "",
      };
    },
    list: async () => {
      const { objects } = (await (await call("")).json()) as { objects: { key: string }[] };
      return objects.map(({ key }) => key);
    },
    remove: (key) => call(at(key), { method: "DELETE" }),
  };
}

function grpcFace(client: ObjectStoreClient): Face {
  return {
    put: (key, text) => {
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const call = client.putObject((error, object) =>
        error === null ? resolve(object) : reject(grpcFault(error)),
      );
      const header = { bucket, key, contentType, metadata, sha256: "" };
      call.write({ body: { $case: "header", value: header } });
      call.write({ body: { $case: "data", value: Buffer.from(text) } });
      call.end();
      return promise;
    },
    get: async (key) => {
      const told: Told = { text: "", contentType: "", metadata: {}, id: "" };
      for await (const { body } of messages(
        client.getObject({ bucket, key, objectId: "", offset: 0 }),
      )) {
        if (body?.$case === "data") told.text += body.value.toString();
        if (body?.$case !== "object") continue;
        const { contentType, metadata, id } = body.value;
        Object.assign(told, { contentType, metadata, id });
      }
      return told;
    },
    list: async () => {
      const request = {
        bucket,
        prefix: "",
        delimiter: "",
        pageSize: 0,
        pageToken: "",
        startAfter: "",
      };
      const { objects } = await unary(client, client.listObjects, request);
      return objects.map(({ key }) => key);
    },
    remove: (key) => unary(client, client.deleteObject, { bucket, key }),
  };
}

function s3Face(client: S3Client): Face {
  const faults = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      if (!(error instanceof S3ServiceException) || error.name !== "NoSuchKey") throw error;
      throw new Fault("object_not_found", error.message);
    }
  };
  return {
    put: (Key, Body) =>
      client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key,
          Body,
          ContentType: contentType,
          Metadata: metadata,
        }),
      ),
    get: async (Key) => {
      let id = "";
      const command = new GetObjectCommand({ Bucket: bucket, Key });
      command.middlewareStack.add(
        (next) => async (args) => {
          const answer = await next(args);
          const { headers } = answer.response as { headers: Record<string, string> };
          id = headers["x-spear-object-id"] ?? "";
          return answer;
        },
        { step: "deserialize", priority: "low" },
      );
      const { Body, ContentType = "", Metadata = {} } = await faults(client.send(command));
      const text = (await Body?.transformToString()) ?? "";
      return { text, contentType: ContentType, metadata: Metadata, id };
    },
    list: async () => {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
      return Contents.map(({ Key = "" }) => Key);
    },
    remove: (Key) => client.send(new DeleteObjectCommand({ Bucket: bucket, Key })),
  };
}

let running: TestStore;
let grpc: ObjectStoreClient;
let faces: Record<"REST" | "gRPC" | "S3", Face>;
beforeAll(async () => {
  running = await startTestStore();
  await running.store.buckets.create(bucket, false);
  grpc = new ObjectStoreClient(running.store.grpc, credentials.createInsecure());
  faces = {
    REST: restFace(running.url),
    gRPC: grpcFace(grpc),
    S3: s3Face(s3Client(running.url, await running.store.accessKeys.create({}))),
  };
});
afterAll(async () => {
  grpc.close();
  await running[Symbol.asyncDispose]();
});

const names = ["REST", "gRPC", "S3"] as const;

test.each(names)("what %s puts, all read and list, and any of them deletes", async (putter) => {
  for (const remover of names) {
    const key = `${putter}/ü %2F+/${remover}`;
    await faces[putter].put(key, "first");
    await faces[putter].put(key, "second");
    const told = await Promise.all(names.map((reader) => faces[reader].get(key)));
    expect(told[0]).toMatchObject({ text: "second", contentType, metadata });
    expect(told[0]?.id).toMatch(/^obj_/);
    expect(told).toEqual(names.map(() => told[0] as Told));
    for (const lister of names) expect(await faces[lister].list()).toEqual([key]);
    await faces[remover].remove(key);
    for (const reader of names) {
      const gone = faces[reader].get(key).catch((error: unknown) => Fault.from(error).code);
      expect(await gone).toBe("object_not_found");
      expect(await faces[reader].list()).toEqual([]);
    }
  }
});
