/** What the demo shows at its end. */
import type { Task } from "@spear/shared/task.ts";
import { renderTable, type Column, type Paint } from "../output.ts";
import type { StoredObject } from "../transfer.ts";
import { formatBytes, formatDuration } from "../values.ts";

const timelineWidth = 48;
const barWidth = 32;

/** The most frequent words with a bar each. */
export function topWords(counts: ReadonlyMap<string, number>, most: number): string {
  const top = [...counts].slice(0, most);
  const highest = top[0]?.[1] ?? 1;
  const width = Math.max(...top.map(([word]) => word.length));
  const digits = String(highest).length;
  return top
    .map(([word, count]) => {
      const bar = "#".repeat(Math.max(1, Math.round((count / highest) * barWidth)));
      return `  ${word.padEnd(width)}  ${String(count).padStart(digits)}  ${bar}\n`;
    })
    .join("");
}

/** When each task ran, node by node; `nodes` maps ids to names. */
export function timeline(tasks: readonly Task[], nodes: ReadonlyMap<string, string>): string {
  const from = Math.min(...tasks.map((task) => task.createdAtMs));
  const to = Math.max(...tasks.map((task) => task.finishedAtMs ?? from));
  const scale = (ms: number) => Math.round(((ms - from) / Math.max(1, to - from)) * timelineWidth);
  const nameWidth = Math.max(...tasks.map(({ name }) => name.length));
  const lines: string[] = [];
  for (const [id, node] of nodes) {
    const here = tasks
      .filter((task) => task.nodeId === id)
      .toSorted((a, b) => (a.startedAtMs ?? 0) - (b.startedAtMs ?? 0));
    for (const [index, task] of here.entries()) {
      const start = task.startedAtMs ?? from;
      const end = task.finishedAtMs ?? to;
      const length = Math.max(1, scale(end) - scale(start));
      const at = Math.min(scale(start), timelineWidth - length);
      const bar = `${" ".repeat(at)}${"#".repeat(length)}`.padEnd(timelineWidth);
      const label = index === 0 ? node : "";
      lines.push(
        `  ${label.padEnd(8)} ${task.name.padEnd(nameWidth)} |${bar}| ${formatDuration(end - start)}\n`,
      );
    }
  }
  const scaleLine = `0${formatDuration(to - from).padStart(timelineWidth - 1)}`;
  return `  ${" ".repeat(8)} ${" ".repeat(nameWidth)}  ${scaleLine}\n${lines.join("")}`;
}

const columns: readonly Column<StoredObject>[] = [
  ["  OBJECT", (object) => `  ${object.bucket}/${object.key}`],
  ["SIZE", (object) => formatBytes(object.sizeBytes)],
  ["ID", (object) => object.id],
];

/** The objects, and the directories that hold everything. */
export function whereabouts(
  objects: readonly StoredObject[],
  places: readonly (readonly [string, string])[],
  paint: Paint,
): string {
  const width = Math.max(...places.map(([what]) => what.length));
  const lines = places.map(([what, where]) => `  ${what.padEnd(width)}  ${where}\n`);
  return `${renderTable(columns, objects, paint)}\n${lines.join("")}`;
}
