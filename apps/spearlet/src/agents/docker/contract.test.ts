/** DockerAgent under the contract of agents. */
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { sharedDocker } from "../../../../../tests/docker.ts";
import { allProcesses, environmentOf } from "../../machine/proc.ts";
import { describeAgent, shellScript, type Behaviour } from "../contract.ts";
import { DockerAgent } from "./docker.ts";

/** Busybox's tail takes a time that grows with the square of what it holds. */
function busyboxScript(behaviour: Behaviour): string {
  return behaviour.does === "allocate"
    ? `dd if=/dev/zero of=/dev/null bs=${behaviour.bytes} count=1`
    : shellScript(behaviour);
}

describeAgent({
  name: "docker",
  can: [
    "exit",
    "print",
    "print-by-name",
    "copy",
    "environment",
    "hang",
    "ignore-term",
    "heed-term",
    "die",
    "leave-children",
    "hang-with-children",
    "flood",
    "all-bytes",
    "double-file",
    "allocate",
    "fork-bomb",
  ],
  open: async () => {
    const engine = await sharedDocker();
    const nodeId = systemIds.next("node");
    return {
      nodeId,
      makeAgent: () => new DockerAgent({ nodeId, socketPath: engine.socketPath, log: silentLog }),
      spec: (behaviour) => ({
        docker: { image: engine.image, command: ["sh", "-c", busyboxScript(behaviour)] },
      }),
      countAlive: ({ taskId }) => {
        const ofTask = allProcesses().filter(
          ({ pid }) => environmentOf(pid)?.get("SPEAR_TASK_ID") === taskId,
        );
        return Promise.resolve(ofTask.length);
      },
      [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
    };
  },
});
