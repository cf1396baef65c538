import { expect, test } from "bun:test";
import { demux, Output, SinkFailure, type Piece } from "./output.ts";
import { MemorySink } from "./testing.ts";

function frame(kind: number, text: string): Buffer {
  const header = Buffer.alloc(8);
  header[0] = kind;
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

const log = Buffer.concat([
  frame(1, "one\n"),
  frame(1, "two\n"),
  frame(2, "oops\n"),
  frame(1, ""),
  frame(1, "three"),
]);

test("frames are taken apart wherever the chunks are cut", async () => {
  for (let size = 1; size <= log.byteLength; size++) {
    const texts = { stdout: "", stderr: "" };
    let frames = 0;
    for await (const piece of demux(chunks(log, size))) {
      texts[piece.stream] += Buffer.from(piece.bytes).toString();
      frames += piece.frames;
    }
    expect({ ...texts, frames }).toEqual({
      stdout: "one\ntwo\nthree",
      stderr: "oops\n",
      frames: 4,
    });
  }
});

test("what comes together stays together", async () => {
  const pieces: Piece[] = [];
  for await (const piece of demux(chunks(log, log.byteLength))) pieces.push(piece);
  expect(pieces.map(({ stream, frames }) => ({ stream, frames }))).toEqual([
    { stream: "stdout", frames: 2 },
    { stream: "stderr", frames: 1 },
    { stream: "stdout", frames: 1 },
  ]);
});

test("an error of the engine in the stream is an error", async () => {
  const failing = new Output(new MemorySink()).copy(chunks(frame(3, "log is gone"), 100));
  await expect(failing).rejects.toThrow("log is gone");
});

test("a second source goes on where the first was cut", async () => {
  for (let cut = 0; cut <= log.byteLength; cut++) {
    const sink = new MemorySink();
    const output = new Output(sink);
    await output.copy(chunks(log.subarray(0, cut), 7));
    expect(await output.copy(chunks(log, 5))).toBe(18);
    expect([sink.text("stdout"), sink.text("stderr")]).toEqual(["one\ntwo\nthree", "oops\n"]);
    expect(output.errorHead).toBe("oops\n");
  }
});

test("what an earlier run kept is not written again", async () => {
  const sink = new MemorySink();
  const output = new Output(sink, { stdout: 5, stderr: 2 });
  await output.copy(chunks(log, 3));
  expect([sink.text("stdout"), sink.text("stderr")]).toEqual(["wo\nthree", "ps\n"]);
  expect(output.errorHead).toBe("oops\n");
});

test("after a note everything is written again", async () => {
  const sink = new MemorySink();
  const output = new Output(sink, { stdout: 5, stderr: 2 });
  await output.repeat("again");
  await output.copy(chunks(log, 3));
  expect(sink.text("system")).toBe("again\n");
  expect(sink.text("stdout")).toBe("one\ntwo\nthree");
});

test("a sink that refuses is told apart, and the bytes do not count as kept", async () => {
  const sink = new MemorySink();
  let isFull = true;
  const output = new Output({
    write: (stream, bytes) =>
      isFull ? Promise.reject(new Error("no space left")) : sink.write(stream, bytes),
  });
  await expect(output.copy(chunks(log, 100))).rejects.toBeInstanceOf(SinkFailure);
  isFull = false;
  await output.copy(chunks(log, 100));
  expect(sink.text("stdout")).toBe("one\ntwo\nthree");
});
