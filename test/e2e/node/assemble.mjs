// Writes the WebAssembly that a file in the text format stands for to standard output.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const wabt = await createRequire(join(process.env.SHUNT_E2E_NODE_DIR, "package.json"))("wabt")();
const file = process.argv[2];
const module = wabt.parseWat(file, readFileSync(file, "utf8"));
process.stdout.write(module.toBinary({}).buffer);
