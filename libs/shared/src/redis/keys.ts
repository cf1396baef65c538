/**
 * Every Redis key of SPEAR. All share one hash tag, so that a script may touch
 * any of them on a cluster. This is the only file that spells a key.
 */
import type { JobId, NodeId, TaskId } from "../ids.ts";

const queues = ":q";

export class Keys {
  /** Hash tag and prefix, as `{spear}`. */
  readonly tag: string;

  /** The keys of the cluster whose queues have this prefix, as a node is told it. */
  static ofQueuePrefix(prefix: string): Keys {
    return new Keys(prefix.slice(1, -"}".length - queues.length));
  }

  constructor(namespace = "spear") {
    this.tag = `{${namespace}}`;
  }

  #key(...parts: string[]): string {
    return [this.tag, ...parts].join(":");
  }

  /** Prefix of BullMQ's queues. */
  get queuePrefix(): string {
    return this.#key("q");
  }

  /** Counter of events. */
  get seq(): string {
    return this.#key("seq");
  }
  /** Stream of events; ids are `<seq>-0`. */
  get events(): string {
    return this.#key("events");
  }

  /** Hash: a task's record. */
  task(id: TaskId | string): string {
    return this.#key("task", id);
  }
  /** Prefix of task records, for scripts that build keys from ids. */
  get taskPrefix(): string {
    return this.#key("task", "");
  }
  /** Sorted set (lexical) of all task ids. */
  get tasks(): string {
    return this.#key("tasks");
  }
  /** Sorted set (lexical) of the task ids in one state. */
  tasksIn(state: string): string {
    return this.#key("tasks", state);
  }
  /** Prefix of the hashes that hold the keys and values of jobs. */
  get keyvaluePrefix(): string {
    return this.#key("kv", "");
  }
  /** Hash: attempt → what it asked of its node, as JSON. */
  audit(id: TaskId | string): string {
    return this.#key("audit", id);
  }
  /** Sorted set: pending tasks of one class of equal need, by rank. */
  pendingClass(cls: string): string {
    return this.#key("pending", cls);
  }
  /** Sorted set: classes that have pending tasks, by the rank of their first. */
  get pendingClasses(): string {
    return this.#key("pending-classes");
  }
  /** Sorted set: tasks that wait for a time, by that time. */
  get delayed(): string {
    return this.#key("delayed");
  }

  /** Sorted set: single tasks that have ended, by when they are removed. */
  get tasksExpiring(): string {
    return this.#key("tasks-expiring");
  }
  /** Sorted set (lexical) of tasks that failed for good and were not run again. */
  get deadLetters(): string {
    return this.#key("dead-letters");
  }

  /** Hash: node → how many of the job's tasks that heed each other hold room on it. */
  jobNodes(id: JobId | string): string {
    return this.#key("job-nodes", id);
  }

  /** Hash: a job's record. */
  job(id: JobId | string): string {
    return this.#key("job", id);
  }
  /** List: the ids of a job's tasks, in the order of its spec. */
  jobTasks(id: JobId | string): string {
    return this.#key("job-tasks", id);
  }
  /** Sorted set (lexical) of all job ids. */
  get jobs(): string {
    return this.#key("jobs");
  }
  /** Sorted set (lexical) of the job ids in one state. */
  jobsIn(state: string): string {
    return this.#key("jobs", state);
  }
  /** Sorted set: jobs for which something is to be done, by when. */
  get jobsDue(): string {
    return this.#key("jobs-due");
  }
  /** Hash: "runtime state" → number of tasks. */
  get taskCounts(): string {
    return this.#key("task-counts");
  }
  /** String: idempotency key → job id. */
  jobIdempotency(key: string): string {
    return this.#key("job-idem", key);
  }

  /** Hash: a schedule's record. */
  schedule(name: string): string {
    return this.#key("schedule", name);
  }
  /** List: times of a schedule that wait for its job before, oldest first. */
  scheduleQueue(name: string): string {
    return this.#key("schedule-queue", name);
  }
  /** Set of schedules with such times. */
  get schedulesQueued(): string {
    return this.#key("schedules-queued");
  }
  /** Sorted set (lexical) of all schedules' names. */
  get schedules(): string {
    return this.#key("schedules");
  }

  /** Sorted set (lexical) of all node ids. */
  get nodes(): string {
    return this.#key("nodes");
  }
  /** Hash: a node's record and reservations. */
  node(id: NodeId | string): string {
    return this.#key("node", id);
  }
  /** String with TTL: a node's lease; holds the incarnation. */
  nodeLease(id: NodeId | string): string {
    return this.#key("lease", id);
  }
  /** Set of `task attempt` that hold capacity on a node. */
  nodeTasks(id: NodeId | string): string {
    return this.#key("node-tasks", id);
  }
  /** List: what a node used in the last hour, newest first. */
  nodeUsage(id: NodeId | string): string {
    return this.#key("node-usage", id);
  }
  /** Hash: join token's id → what is known of it; never the token. */
  get joinTokens(): string {
    return this.#key("join-tokens");
  }
  /** Hash: node → hash of the credential that it is known by. */
  get nodeCredentials(): string {
    return this.#key("node-credentials");
  }
  /** Sorted set: node ids by when their lease runs out. */
  get leases(): string {
    return this.#key("leases");
  }

  /** String: id of the life of the cluster's data; gone only with all the rest. */
  get clusterLife(): string {
    return this.#key("life");
  }
  /** Sorted set: gRPC addresses of SMS replicas, by when they were last heard of. */
  get replicas(): string {
    return this.#key("replicas");
  }

  /** Lease of the SMS replica that runs the singletons. */
  get leader(): string {
    return this.#key("leader");
  }
  /** Counter of leaders: the epoch that fences what a former one still writes. */
  get leaderEpoch(): string {
    return this.#key("leader-epoch");
  }

  /** Keys of the Object Store start with this; it spells the rest from its own names. */
  store(...parts: string[]): string {
    return this.#key("store", ...parts);
  }
}

/**
 * The same keys for Lua, put before every script that follows a record from one
 * key to another. `KEYS[1]` must be `Keys.seq`: the tag is cut from it.
 */
export const keysLua = `local TAG = string.sub(KEYS[1], 1, -4)
local SEQ, EVENTS, TASKS = KEYS[1], TAG .. 'events', TAG .. 'tasks'
local DELAYED, PENDING_CLASSES = TAG .. 'delayed', TAG .. 'pending-classes'
local TASK_COUNTS = TAG .. 'task-counts'
local TASKS_EXPIRING, DEAD_LETTERS = TAG .. 'tasks-expiring', TAG .. 'dead-letters'
local NODES, LEASES = TAG .. 'nodes', TAG .. 'leases'
local JOBS, JOBS_DUE = TAG .. 'jobs', TAG .. 'jobs-due'
local function job_key(id) return TAG .. 'job:' .. id end
local function job_tasks_key(id) return TAG .. 'job-tasks:' .. id end
local function job_groups_key(id) return TAG .. 'job-groups:' .. id end
local function job_folded_key(id) return TAG .. 'job-folded:' .. id end
local function job_ready_key(id) return TAG .. 'job-ready:' .. id end
local function job_doomed_key(id) return TAG .. 'job-doomed:' .. id end
local function jobs_in_key(state) return TAG .. 'jobs:' .. state end
local LEADER_EPOCH = TAG .. 'leader-epoch'
local function task_key(id) return TAG .. 'task:' .. id end
-- String: a task's idempotency key → its id.
local function idempotency_key(key) return TAG .. 'idem:' .. key end
local function tasks_in_key(state) return TAG .. 'tasks:' .. state end
local function pending_class_key(class) return TAG .. 'pending:' .. class end
local function node_key(id) return TAG .. 'node:' .. id end
local function job_nodes_key(id) return TAG .. 'job-nodes:' .. id end
local function node_tasks_key(id) return TAG .. 'node-tasks:' .. id end
local function node_usage_key(id) return TAG .. 'node-usage:' .. id end
local function lease_key(id) return TAG .. 'lease:' .. id end
`;
