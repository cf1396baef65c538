/**
 * Counts the words of every object below a prefix: a process that submits a Wasm
 * child for each, waits for them, and sums up what they stored. See hostcalls.yaml.
 */
import { connect } from "@spear/task";

const [prefix = "", module = ""] = process.argv.slice(2);
const task = connect();

const children: string[] = [];
for await (const { object } of task.objects.list(prefix)) {
  const result = `results/${object.slice(prefix.length)}`;
  const id = await task.children.submit(
    {
      name: "count",
      wasm: { module, args: [object, result] },
      hostcalls: [`object.read:${object}`, `object.write:${result}`, "keyvalue.write:words", "log"],
    },
    // A later attempt of this task finds the same children.
    { key: object },
  );
  children.push(id);
}
for (const id of children) {
  const { state, failure } = await task.children.wait(id, 60_000);
  if (state !== "succeeded") throw new Error(`${id} ${state}: ${failure?.message ?? ""}`);
}
const words = (await task.keyvalue.get("words"))?.value.toString() ?? "0";
await task.log("counted", { objects: children.length, words: Number(words) });
console.log(`${children.length} objects, ${words} words`);
