/**
 * Files that jco's tools read from beside themselves. Naming them here makes a
 * compiled executable carry them, if it is built with `--asset-naming=[name].[ext]`.
 */
import bindgen from "../../../../../../node_modules/@bytecodealliance/jco-transpile/vendor/js-component-bindgen-component.core.wasm" with { type: "file" };
import bindgen2 from "../../../../../../node_modules/@bytecodealliance/jco-transpile/vendor/js-component-bindgen-component.core2.wasm" with { type: "file" };
import tools from "../../../../../../node_modules/@bytecodealliance/jco-transpile/vendor/wasm-tools.core.wasm" with { type: "file" };
import tools2 from "../../../../../../node_modules/@bytecodealliance/jco-transpile/vendor/wasm-tools.core2.wasm" with { type: "file" };
import adapter from "../../../../../../node_modules/@bytecodealliance/jco/lib/wasi_snapshot_preview1.command.wasm" with { type: "file" };

/** jco's adapter of preview1 to WASI 0.2, which the caller reads. */
export const adapterPath = adapter;

/** Core modules that jco's own JavaScript finds by name. */
export const toolPaths: readonly string[] = [bindgen, bindgen2, tools, tools2];
