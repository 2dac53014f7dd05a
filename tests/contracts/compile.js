// Compiles the contracts of the tests into artifacts/: one small JSON file a contract that can be
// deployed, with its ABI and its bytecode. The same sources and compiler give the same files.
//   NODE_PATH=.cache/tests/npm/node_modules node tests/contracts/compile.js [FOLDER OF THE ARTIFACTS]
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const solc = require("solc");

const output = process.argv[2] ?? path.join(__dirname, "artifacts");

const sources = {};
for (const generation of ["v0", "v1"])
  for (const file of fs.readdirSync(path.join(__dirname, generation)).sort())
    sources[`${generation}/${file}`] = {
      content: fs.readFileSync(path.join(__dirname, generation, file), "utf8"),
    };

const compiled = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources,
      settings: {
        evmVersion: "shanghai",
        optimizer: { enabled: true, runs: 200 },
        // Without the metadata the bytecode does not depend on comments and names of files.
        metadata: { appendCBOR: false, bytecodeHash: "none" },
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
      },
    }),
  ),
);

const problems = compiled.errors ?? [];
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.length) process.exit(1);

fs.rmSync(output, { recursive: true, force: true });
fs.mkdirSync(output, { recursive: true });
for (const file of Object.values(compiled.contracts))
  for (const [name, { abi, evm }] of Object.entries(file)) {
    if (!evm.bytecode.object) continue; // interfaces and abstract contracts
    const lines = abi.map((entry) => "    " + JSON.stringify(entry)).sort();
    fs.writeFileSync(
      path.join(output, `${name}.json`),
      `{\n  "abi": [\n${lines.join(",\n")}\n  ],\n  "bytecode": "${evm.bytecode.object}"\n}\n`,
    );
  }
