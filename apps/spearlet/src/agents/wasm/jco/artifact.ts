/** What lies in a folder of the cache. */

/** JavaScript that instantiates the component. */
export const entryFile = "component.js";
export const manifestFile = "manifest.json";

export interface Manifest {
  entry: string;
  /** Interfaces that it imports, without versions. */
  imports: string[];
}
