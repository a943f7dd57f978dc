;; A component that exports something else under the contract's name.
(component
  (core module $m (func (export "f") (result i32) (i32.const 7)))
  (core instance $i (instantiate $m))
  (func $f (result u32) (canon lift (core func $i "f")))
  (instance $guest (export "describe" (func $f)))
  (export "rowmill:plugin/guest@1.0.0" (instance $guest)))
