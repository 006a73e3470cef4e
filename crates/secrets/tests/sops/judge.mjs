// Reads the fixtures with the npm package `sops-age` (4.0.2), an implementation that is not ours, and says what it got.
import { readFileSync } from "node:fs";
import { decryptSops } from "sops-age";

const secretKey = readFileSync("identity.txt", "utf8").match(/AGE-SECRET-KEY-\S+/)[0];
for (const path of ["secret.yaml", "only-encrypted.yaml", "mixed.json", "secrets.env"]) {
  const fileType = { yaml: "yaml", json: "json", env: "env" }[path.split(".").pop()];
  console.log(path, JSON.stringify(await decryptSops(readFileSync(path, "utf8"), { secretKey, fileType })));
}
