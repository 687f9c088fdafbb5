// What every driver for Node does the same way: finding its packages, the verbs of ../play.rs, the loops and the clock.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const folder = join(process.env.PEERS_HOME, "node");
const require = createRequire(join(folder, "package.json"));

export const url = process.env.DATABASE_URL;
export const pg = require("pg");

// The entry of a package that knows `import` only is named by its own package.json.
export async function load(name) {
  const home = join(folder, "node_modules", name);
  const told = JSON.parse(readFileSync(join(home, "package.json")));
  const first = (entry) =>
    typeof entry === "string" ? entry : first(entry["."] ?? entry.import ?? entry.node ?? entry.default ?? entry.require);
  const loaded = await import(pathToFileURL(join(home, first(told.exports ?? told.main))));
  return loaded.default && !loaded.run && !loaded.PgBoss ? loaded.default : loaded;
}

// The machine's monotonic clock in microseconds.
export const now = () => Number(process.hrtime.bigint() / 1000n);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const BATCH = 1000;
const IDLE_MS = 90_000;

const tell = (jobs, from, cut = false) => {
  console.log(`RESULT ${JSON.stringify({ jobs, seconds: (now() - from) / 1e6, cut })}`);
};

// peer: setup(), clients(count) -> [one(number)], many(from, to), drain(jobs, isUp) -> jobs done, idle(began)
export async function play(peer) {
  const [verb, ...rest] = process.argv.slice(2);
  const [jobs, second, third] = rest.map(Number);
  if (verb === "setup") {
    await peer.setup();
  } else if (verb === "one") {
    const clients = await peer.clients(second);
    let next = 0, done = 0;
    const from = now(), end = from + third * 1e6;
    await Promise.all(clients.map(async (one) => {
      while (next < jobs && now() < end) {
        await one(next++);
        done++;
      }
    }));
    tell(done, from);
  } else if (verb === "many") {
    const many = await peer.many();
    const from = now(), end = from + 60e6;
    let put = 0;
    while (put < jobs && now() < end) {
      const to = Math.min(jobs, put + BATCH);
      await many(put, to);
      put = to;
    }
    tell(put, from, put < jobs);
  } else if (verb === "drain") {
    await peer.drain({ jobs, limit: second * 1e6, tell });
  } else if (verb === "idle") {
    const rows = [];
    await peer.idle((job) => rows.push([job, now()]));
    console.log("READY");
    const end = now() + IDLE_MS * 1e3;
    while (rows.length < jobs && now() < end) await sleep(20);
    writeFileSync(rest[1], JSON.stringify(rows));
  } else if (verb === "pace") {
    const [one] = await peer.clients(1);
    const rows = [];
    for (let number = 0; number < jobs; number++) {
      const from = now();
      await one(number);
      rows.push([number, from, now()]);
      await sleep(second);
    }
    writeFileSync(rest[2], JSON.stringify(rows));
  } else {
    throw new Error(`${verb} is no verb`);
  }
  process.exit(0);
}

export const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);

// One connection each.
export const connections = (count) =>
  Promise.all(numbers(0, count).map(async () => {
    const connection = new pg.Client(url);
    await connection.connect();
    return connection;
  }));
