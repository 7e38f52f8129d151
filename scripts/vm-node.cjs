// For Node.js in the guest (scripts/vm). Under emulation, about one cold start in ten that strips types (swc, in WebAssembly)
// dies in V8's Runtime_WasmTriggerTierUp: "Check failed: it->second.Size() > offset". NODE_OPTIONS does not take the flag itself.
require('node:v8').setFlagsFromString('--no-wasm-dynamic-tiering');
