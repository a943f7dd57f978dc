;; `cabi_realloc` gives odd addresses.
(module
  (import "rowmill:plugin/log@1.0.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 16)
  (global $heap (mut i32) (i32.const 262144))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 262145))
  (func (export "rowmill:plugin/guest@1.0.0#describe") (result i32)
    (i32.const 1024))
  (func (export "rowmill:plugin/guest@1.0.0#configure") (param i32 i32) (result i32)
    (i32.const 1280))
  (func (export "rowmill:plugin/guest@1.0.0#define-table") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 1280))
  (func (export "rowmill:plugin/guest@1.0.0#transform") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store offset=4 (i32.const 1296) (local.get 1))
    (i32.const 1296))
  ;; The description: name and version, no tables, mode image, no indices, no schema.
  (data (i32.const 1024) "\00\08\00\00\04\00\00\00" "\08\08\00\00\05\00\00\00")
  (data (i32.const 2048) "wat-" "    " "1.0.0")
  ;; 1280: ok with nothing. 1296: an output whose verdicts are the zeros from 131072 on, each of them keep.
  (data (i32.const 1296) "\00\00\02\00")
)
