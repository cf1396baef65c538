/** A Store that is killed at the nth time that it comes to a step: `<step> <n>` before its flags. */
import { runProgram } from "@spear/shared/program.ts";
import { storeConfig } from "@spear/store/config.ts";
import { armFailpoints } from "@spear/store/failpoint.ts";
import { start } from "@spear/store/store.ts";

const [step, nth, ...flags] = process.argv.slice(2);
let left = Number(nth);
armFailpoints((hit) => {
  if (hit === step && --left === 0) process.kill(process.pid, "SIGKILL");
});
process.exitCode = await runProgram(
  { name: "store", summary: "A Store that fails.", config: storeConfig, start },
  flags,
);
