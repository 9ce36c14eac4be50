// Counts every sample with OpenAI's own vocabulary, once: `npm install --no-save js-tiktoken && node count.mjs`.
// Its tables are in the package, so nothing is asked of a network when it runs.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { getEncoding } from "js-tiktoken";

const here = new URL(".", import.meta.url);
const encoding = getEncoding("o200k_base");
const counts = {};
for (const name of readdirSync(here).filter((name) => name.endsWith(".txt")).sort()) {
  counts[name] = encoding.encode(readFileSync(new URL(name, here), "utf8"), "all").length;
}
writeFileSync(new URL("counts.json", here), JSON.stringify(counts, null, 2) + "\n");
