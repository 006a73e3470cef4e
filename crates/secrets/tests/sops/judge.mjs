// Reads the fixtures, each named on the command line, with the npm package `sops-age`, an implementation that is not ours, and
// says what it got: a line of JSON each.
import { readFileSync } from "node:fs";
import { decryptSops } from "sops-age";

const [identity, ...paths] = process.argv.slice(2);
const secretKey = readFileSync(identity, "utf8").match(/AGE-SECRET-KEY-\S+/)[0];
for (const path of paths) {
  const fileType = { yaml: "yaml", json: "json", env: "env" }[path.split(".").pop()];
  console.log(JSON.stringify(await decryptSops(readFileSync(path, "utf8"), { secretKey, fileType })));
}
