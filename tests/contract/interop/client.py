"""A client that shares no code with SPEAR: Debian's gRPC for Python over stubs of protoc.

Usage: client.py SMS_ADDRESS. Submits a task, watches it to its end, reads its output,
tries what must be refused, and prints what it saw as one JSON object.
"""

import json
import sys

import grpc
from spear.common.v1 import task_pb2 as common
from spear.sms.v1 import node_pb2, node_pb2_grpc, task_pb2, task_pb2_grpc

DEADLINE_S = 30


def watch(tasks, task_id):
    """States that the task went through, from its first to its last."""
    request = task_pb2.WatchTasksRequest(task_id=task_id, after_seq=0)
    states = []
    for event in tasks.WatchTasks(request, timeout=DEADLINE_S):
        if event.kind == "task.state":
            states.append(event.to)
        if event.to in ("succeeded", "failed", "timed_out", "cancelled"):
            return states
    return states


def read(tasks, task_id):
    """Output by stream, followed to the end."""
    output = {}
    end = None
    request = task_pb2.ReadLogsRequest(task_id=task_id, follow=True)
    for chunk in tasks.ReadLogs(request, timeout=DEADLINE_S):
        if chunk.data:
            output[chunk.stream] = output.get(chunk.stream, b"") + chunk.data
        if chunk.HasField("end"):
            end = common.TaskState.Name(chunk.end.state)
    return {stream: data.decode() for stream, data in output.items()}, end


def refusal(call):
    """Status and SPEAR's metadata of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata())
        return [error.code().name, metadata.get("spear-code"), metadata.get("spear-field")]
    return None


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        tasks = task_pb2_grpc.TaskServiceStub(channel)
        nodes = node_pb2_grpc.NodeServiceStub(channel)
        spec = common.TaskSpec(
            name="from-python",
            process=common.ProcessSpec(command=["sh", "-c", "cat; echo $WHO >&2; exit 3"]),
            env={"WHO": "wörld"},
            stdin="hällo\n".encode(),
        )
        task = tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec), timeout=DEADLINE_S)
        states = watch(tasks, task.id)
        output, end = read(tasks, task.id)
        final = tasks.GetTask(task_pb2.GetTaskRequest(task_id=task.id), timeout=DEADLINE_S)
        listed = tasks.ListTasks(
            task_pb2.ListTasksRequest(states=[common.TASK_STATE_FAILED], name="from-python"),
            timeout=DEADLINE_S,
        )
        print(
            json.dumps(
                {
                    "id": task.id,
                    "states": states,
                    "output": output,
                    "end": end,
                    "exitCode": final.exit_code,
                    "hasFinished": final.HasField("finished_at_ms"),
                    "listed": [found.id for found in listed.tasks],
                    "nodes": [
                        node.name
                        for node in nodes.ListNodes(node_pb2.ListNodesRequest()).nodes
                    ],
                    "noRuntime": refusal(
                        lambda: tasks.SubmitTask(
                            task_pb2.SubmitTaskRequest(spec=common.TaskSpec())
                        )
                    ),
                    "noTask": refusal(
                        lambda: tasks.GetTask(
                            task_pb2.GetTaskRequest(task_id="task_01JD3T1V7Z8Q4N5M6P7R8S9T0A")
                        )
                    ),
                }
            )
        )


main()
