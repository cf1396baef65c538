;; A test given as text: ends with the code that its manifest wants.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $exit (i32.mul (i32.const 6) (i32.const 7)))))
