;; Holds the headers of a successful answer back until the first byte of its body, so
;; that a provider that sends headers and then nothing has not begun to answer (FALL-1).
;; Envoy's own filters hold all of a body or nothing of it. What is not exported is not
;; called: no chunk of a body comes here.
;;
;; Proxy-Wasm ABI 0.2.1. hold.wasm is what wat2wasm (npm: wabt) makes of this; a test
;; sees to it.
(module
  (import "env" "proxy_get_header_map_value"
    (func $header (param $map i32) (param $name i32) (param $size i32) (param $data i32) (param $length i32) (result i32)))
  (memory (export "memory") 1)

  ;; 0 and 4: where the host puts a value's address and size. 16: the header's name.
  ;; 1024: the value, for as long as a call lasts.
  (data (i32.const 16) ":status")

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))

  ;; 0 continues, 1 stops the headers until there is data. An answer without a body and
  ;; one that is no 2xx go on at once: whether another provider is asked hangs on them.
  (func (export "proxy_on_response_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (if (local.get $end) (then (return (i32.const 0))))
    (if (call $header (i32.const 2) (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 4))
      (then (return (i32.const 0))))
    (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 0x32)))) ;; "2"
