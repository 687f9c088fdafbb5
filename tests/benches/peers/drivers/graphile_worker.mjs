// Graphile Worker, set as its own measurements set it.
//
// A drain: 24 at once, a local queue of 500 refilled after 10 ms, completions in batches without a delay. An idle worker: no local queue.
import { connections, load, numbers, play, now, sleep, url } from "./verbs.mjs";

const { run, runOnce, runMigrations, makeWorkerUtils, Logger } = await load("graphile-worker");

const AT_ONCE = 24;
const worker = { connectionString: url, concurrentJobs: AT_ONCE, maxPoolSize: AT_ONCE + 1, logger: new Logger(() => () => {}) };
const plain = { worker };
const batched = {
  worker: { ...worker, localQueue: { size: 500, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0 },
};

await play({
  setup: () => runMigrations({ preset: plain }),
  clients: async (count) =>
    (await connections(count)).map((connection) => (id) =>
      connection.query({ name: "add", text: "select graphile_worker.add_job('noop', json_build_object('id', $1::int))", values: [id] })),
  many: async () => {
    const utils = await makeWorkerUtils({ preset: plain });
    return (from, to) => utils.addJobs(numbers(from, to).map((id) => ({ identifier: "noop", payload: { id } })));
  },
  drain: async ({ limit, tell }) => {
    let done = 0;
    const from = now();
    setTimeout(() => {
      tell(done, from, true);
      process.exit(0);
    }, limit / 1e3);
    await runOnce({ preset: batched, taskList: { noop: () => { done++; } } });
    tell(done, from);
  },
  idle: async (began) => {
    await run({ preset: plain, noHandleSignals: true, taskList: { noop: (payload) => { began(payload.id); } } });
    // It does not tell when it listens.
    await sleep(1000);
  },
});
