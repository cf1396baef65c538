/**
 * A task that asks its node for what its first argument says, with JavaScript over
 * `task`, and prints the answer as JSON, or the error's code.
 */
import { connect, HostcallError, type Task } from "@spear/task";

const AsyncFunction = (async () => undefined).constructor as new (
  parameter: string,
  body: string,
) => (task: Task) => Promise<unknown>;

try {
  const run = new AsyncFunction("task", process.argv[2] ?? "");
  process.stdout.write(`${JSON.stringify(await run(connect()))}\n`);
} catch (error) {
  if (!(error instanceof HostcallError)) throw error;
  process.stdout.write(`${JSON.stringify({ code: error.code, message: error.message })}\n`);
}
