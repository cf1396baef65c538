/** What S3 does, as AWS's client sees it: reads, listings, copies, tags, multi-part uploads. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  GetBucketAclCommand,
  GetBucketLocationCommand,
  GetBucketPolicyCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type PutObjectCommandInput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { codeOf, rawS3, s3Client, type Credentials } from "../../../../tests/s3/client.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";

let running: TestStore;
let key: Credentials;
let client: S3Client;
beforeAll(async () => {
  running = await startTestStore();
  key = await running.store.accessKeys.create({});
  client = s3Client(running.url, key);
});
afterAll(() => running[Symbol.asyncDispose]());

let buckets = 0;
/** A fresh bucket with these objects, each holding its own key. */
async function bucketWith(...keys: string[]): Promise<string> {
  const bucket = `bucket-${++buckets}`;
  await running.store.buckets.create(bucket, false);
  for (const Key of keys) await put(bucket, Key);
  return bucket;
}

const put = (Bucket: string, Key: string, more: Partial<PutObjectCommandInput> = {}) =>
  client.send(new PutObjectCommand({ Bucket, Key, Body: Key, ...more }));
const read = async (Bucket: string, Key: string, more: object = {}) => {
  const { Body, ...rest } = await client.send(new GetObjectCommand({ Bucket, Key, ...more }));
  return { ...rest, text: await Body?.transformToString() };
};
const md5 = (...pieces: Buffer[]) => {
  const hash = createHash("md5");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
};

test("an object comes back as it was put", async () => {
  const Bucket = await bucketWith();
  const { ETag } = await put(Bucket, "a", {
    ContentType: "text/plain",
    ContentDisposition: "inline",
    Metadata: { colour: "blue" },
    Tagging: "a=b%20c",
  });
  expect(ETag).toBe(`"${md5(Buffer.from("a"))}"`);
  expect(await read(Bucket, "a")).toMatchObject({
    text: "a",
    ETag,
    ContentType: "text/plain",
    ContentDisposition: "inline",
    Metadata: { colour: "blue" },
    TagCount: 1,
  });
  const shown = await read(Bucket, "a", { ResponseContentType: "x/y" });
  expect(shown.ContentType).toBe("x/y");
});

test("ranges and conditions hold", async () => {
  const Bucket = await bucketWith("0123456789", "x");
  await put(Bucket, "empty", { Body: new Uint8Array() });
  const Key = "0123456789";
  expect(await read(Bucket, Key, { Range: "bytes=2-4" })).toMatchObject({
    text: "234",
    ContentRange: "bytes 2-4/10",
  });
  expect((await read(Bucket, Key, { Range: "bytes=-3" })).text).toBe("789");
  expect(await codeOf(read(Bucket, Key, { Range: "bytes=10-" }))).toBe("InvalidRange");
  expect(await codeOf(read(Bucket, "empty", { Range: "bytes=0-" }))).toBe("InvalidRange");
  const { ETag = "" } = await client.send(new HeadObjectCommand({ Bucket, Key }));
  expect(await codeOf(read(Bucket, Key, { IfNoneMatch: ETag }))).toBe("304");
  expect(await codeOf(read(Bucket, Key, { IfMatch: '"x"' }))).toBe("PreconditionFailed");
  expect(await codeOf(put(Bucket, Key, { IfNoneMatch: "*" }))).toBe("PreconditionFailed");
  expect(await codeOf(put(Bucket, "new", { IfNoneMatch: "*" }))).toBe("ok");
  expect(await codeOf(put(Bucket, Key, { IfMatch: '"x"' }))).toBe("PreconditionFailed");
  expect(await codeOf(put(Bucket, Key, { IfMatch: ETag, Body: "other" }))).toBe("ok");
  const stale = new DeleteObjectCommand({ Bucket, Key, IfMatch: ETag });
  expect(await codeOf(client.send(stale))).toBe("PreconditionFailed");
});

test("every listing goes through all keys, whatever the size of its pages", async () => {
  const keys = ["a", "b/1", "b/2", "c\u0001\r<&>\"'", "d/", "d/x/1", "e é+%", "z"];
  const Bucket = await bucketWith(...keys);
  const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const MaxKeys of [1, 2, 3, 1_000]) {
    for (const EncodingType of ["url", undefined] as const) {
      const plain = (text: string) =>
        EncodingType === "url" ? decodeURIComponent(text.replaceAll("+", "%20")) : text;
      const seen: Record<string, string[]> = { v1: [], v2: [], versions: [], rolled: [] };
      for (let Marker: string | undefined, more = true; more;) {
        const page = await client.send(
          new ListObjectsCommand({ Bucket, MaxKeys, Marker, EncodingType }),
        );
        seen["v1"]?.push(...(page.Contents ?? []).map(({ Key = "" }) => plain(Key)));
        more = page.IsTruncated === true;
        Marker = plain(page.NextMarker ?? "");
      }
      for (let ContinuationToken: string | undefined, more = true; more;) {
        const page = await client.send(
          new ListObjectsV2Command({ Bucket, MaxKeys, ContinuationToken, EncodingType }),
        );
        expect(page.KeyCount).toBe(page.Contents?.length);
        seen["v2"]?.push(...(page.Contents ?? []).map(({ Key = "" }) => plain(Key)));
        more = page.IsTruncated === true;
        ContinuationToken = page.NextContinuationToken;
      }
      for (let KeyMarker: string | undefined, more = true; more;) {
        const page = await client.send(
          new ListObjectVersionsCommand({ Bucket, MaxKeys, KeyMarker, EncodingType }),
        );
        seen["versions"]?.push(...(page.Versions ?? []).map((one) => plain(one.Key ?? "")));
        more = page.IsTruncated === true;
        KeyMarker = plain(page.NextKeyMarker ?? "");
      }
      for (let Marker: string | undefined, more = true; more;) {
        const page = await client.send(
          new ListObjectsCommand({ Bucket, MaxKeys, Marker, Delimiter: "/", EncodingType }),
        );
        const parts = [
          ...(page.Contents ?? []).map(({ Key = "" }) => plain(Key)),
          ...(page.CommonPrefixes ?? []).map(({ Prefix = "" }) => plain(Prefix)),
        ];
        seen["rolled"]?.push(...parts.toSorted());
        more = page.IsTruncated === true;
        Marker = plain(page.NextMarker ?? "");
      }
      expect(seen).toEqual({
        v1: sorted,
        v2: sorted,
        versions: sorted,
        rolled: ["a", "b/", "c\u0001\r<&>\"'", "d/", "e é+%", "z"],
      });
    }
  }
  const none = await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 0 }));
  expect(none).toMatchObject({ KeyCount: 0, IsTruncated: false });
  const absent = new ListObjectsV2Command({ Bucket: "absent", MaxKeys: 0 });
  expect(await codeOf(client.send(absent))).toBe("NoSuchBucket");
});

test("a copy is an object of its own, with its source's attributes or others", async () => {
  const Bucket = await bucketWith();
  await put(Bucket, "a/ü +", { Metadata: { colour: "blue" }, Tagging: "a=b", ContentType: "x/y" });
  const CopySource = `${Bucket}/${encodeURIComponent("a/ü +")}`;
  const copy = (Key: string, more: object = {}) =>
    client.send(new CopyObjectCommand({ Bucket, Key, CopySource, ...more }));
  await copy("same");
  expect(await read(Bucket, "same")).toMatchObject({
    text: "a/ü +",
    ContentType: "x/y",
    Metadata: { colour: "blue" },
    TagCount: 1,
  });
  await copy("other", {
    MetadataDirective: "REPLACE",
    Metadata: { colour: "red" },
    TaggingDirective: "REPLACE",
  });
  const other = await read(Bucket, "other");
  expect(other).toMatchObject({ text: "a/ü +", Metadata: { colour: "red" } });
  expect(other.TagCount).toBeUndefined();
  expect(await codeOf(copy("a/ü +"))).toBe("InvalidRequest");
  expect(await codeOf(copy("a/ü +", { MetadataDirective: "REPLACE" }))).toBe("ok");
  expect(await codeOf(copy("no", { CopySourceIfMatch: '"x"' }))).toBe("PreconditionFailed");
  expect(await codeOf(copy("no", { CopySource: `${Bucket}/absent` }))).toBe("NoSuchKey");
  expect(await codeOf(copy("no", { CopySource: "nonsense" }))).toBe("InvalidArgument");
});

test("tags change without the bytes", async () => {
  const Bucket = await bucketWith("tagged");
  const Key = "tagged";
  const { ETag } = await client.send(new HeadObjectCommand({ Bucket, Key }));
  const TagSet = [
    { Key: "k 1", Value: "v/1" },
    { Key: "k2", Value: "" },
  ];
  const tags = async () => (await client.send(new GetObjectTaggingCommand({ Bucket, Key }))).TagSet;
  await client.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));
  expect(await tags()).toEqual(TagSet);
  expect(await read(Bucket, Key)).toMatchObject({ text: Key, ETag, TagCount: 2 });
  await client.send(new DeleteObjectTaggingCommand({ Bucket, Key }));
  expect(await tags()).toEqual([]);
  const twice = { TagSet: [...TagSet, ...TagSet] };
  const wrong = new PutObjectTaggingCommand({ Bucket, Key, Tagging: twice });
  expect(await codeOf(client.send(wrong))).toBe("InvalidTag");
});

test("parts become one object under the tag that S3 gives it", async () => {
  const Bucket = await bucketWith("source");
  const Key = "parts";
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket, Key, Metadata: { m: "v" }, Tagging: "a=b" }),
  );
  const part = async (PartNumber: number, Body: Buffer) => {
    const { ETag } = await client.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }),
    );
    return { PartNumber, ETag };
  };
  const [big, small] = [Buffer.alloc(5 << 20, "big"), Buffer.from("small")];
  const last = await part(9, small);
  const first = await part(2, big);
  const listed = await client.send(
    new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 1, PartNumberMarker: "2" }),
  );
  expect(listed.Parts).toMatchObject([{ ...last, Size: 5 }]);
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  expect(Uploads).toMatchObject([{ Key, UploadId }]);
  const { CopyPartResult } = await client.send(
    new UploadPartCopyCommand({
      Bucket,
      Key,
      UploadId,
      PartNumber: 10,
      CopySource: `${Bucket}/source`,
      CopySourceRange: "bytes=1-3",
    }),
  );
  const copied = { PartNumber: 10, ETag: CopyPartResult?.ETag };
  const complete = (Parts: object[], more: object = {}) =>
    client.send(
      new CompleteMultipartUploadCommand({
        Bucket,
        Key,
        UploadId,
        MultipartUpload: { Parts },
        ...more,
      }),
    );
  expect(await codeOf(complete([last, first]))).toBe("InvalidPartOrder");
  expect(await codeOf(complete([last, copied]))).toBe("EntityTooSmall");
  expect(await codeOf(complete([{ ...first, ETag: '"x"' }]))).toBe("InvalidPart");
  expect(await codeOf(complete([]))).toBe("MalformedXML");
  expect(await codeOf(complete([first], { Key: "other" }))).toBe("NoSuchUpload");
  expect((await complete([first, last])).ETag).toBe(
    `"${md5(Buffer.from(md5(big), "hex"), Buffer.from(md5(small), "hex"))}-2"`,
  );
  expect(await read(Bucket, Key, { Range: "bytes=-7" })).toMatchObject({
    text: "bismall".slice(-7),
    Metadata: { m: "v" },
    TagCount: 1,
  });
  expect(await codeOf(complete([first, last]))).toBe("NoSuchUpload");
});

test("a part that is copied has the range's bytes, and an upload that is ended has none", async () => {
  const Bucket = await bucketWith("source");
  const target = { Bucket, Key: "copied" };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
  const { CopyPartResult } = await client.send(
    new UploadPartCopyCommand({
      ...target,
      UploadId,
      PartNumber: 1,
      CopySource: `${Bucket}/source`,
      CopySourceRange: "bytes=1-3",
    }),
  );
  const MultipartUpload = { Parts: [{ PartNumber: 1, ETag: CopyPartResult?.ETag }] };
  await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload }));
  expect((await read(Bucket, "copied")).text).toBe("our");
  const ended = await client.send(new CreateMultipartUploadCommand(target));
  const abort = () =>
    client.send(new AbortMultipartUploadCommand({ ...target, UploadId: ended.UploadId }));
  await abort();
  expect(await codeOf(abort())).toBe("NoSuchUpload");
});

test("clients get an answer to what they ask of every bucket", async () => {
  const Bucket = await bucketWith();
  const location = await client.send(new GetBucketLocationCommand({ Bucket }));
  expect(location.LocationConstraint).toBeUndefined();
  const versioning = await client.send(new GetBucketVersioningCommand({ Bucket }));
  expect(versioning.Status).toBeUndefined();
  const acl = await client.send(new GetBucketAclCommand({ Bucket }));
  expect(acl.Grants).toMatchObject([{ Permission: "FULL_CONTROL" }]);
  expect(await codeOf(client.send(new GetBucketPolicyCommand({ Bucket })))).toBe(
    "NoSuchBucketPolicy",
  );
  const absent = new GetBucketLocationCommand({ Bucket: "absent" });
  expect(await codeOf(client.send(absent))).toBe("NoSuchBucket");
});

test.each([
  ["has no end", "<Delete><Object><Key>a</Key></Object>", "MalformedXML"],
  ["has another root", "<Other/>", "MalformedXML"],
  ["names nothing", "<Delete></Delete>", "MalformedXML"],
  [
    "has a type",
    '<!DOCTYPE a [<!ENTITY x "y">]><Delete><Object><Key>&x;</Key></Object></Delete>',
    "MalformedXML",
  ],
  ["is not UTF-8", "<Delete><Object><Key>\xff</Key></Object></Delete>", "MalformedXML"],
  [
    "names too much",
    `<Delete>${"<Object><Key>a</Key></Object>".repeat(1_001)}</Delete>`,
    "MalformedXML",
  ],
  ["is too large", "x".repeat((4 << 20) + 1), "MaxMessageLengthExceeded"],
])("a document that %s is refused", async (_, body, code) => {
  const bucket = await bucketWith();
  const call = { method: "POST", path: `/${bucket}`, query: "delete", body };
  expect(await rawS3(running.store.http, key, call)).toContain(`<Code>${code}</Code>`);
});
