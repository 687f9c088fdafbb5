// pg-boss: jobs by the thousand from four fetchers where it drains, notified and one at a time where it idles.
import { connections, load, numbers, play, now, sleep, url } from "./verbs.mjs";

const { PgBoss } = await load("pg-boss");

const QUEUE = "noop";

async function boss(max, more = {}) {
  const started = new PgBoss({ connectionString: url, max, supervise: false, schedule: false, ...more });
  started.on("error", (error) => console.error(error));
  await started.start();
  return started;
}

await play({
  setup: async () => {
    const at = await boss(4);
    await at.createQueue(QUEUE, { notify: process.env.BOSS_NOTIFY === "1" });
  },
  clients: async (count) => {
    const at = await boss(count);
    await at.getQueue(QUEUE);
    return numbers(0, count).map(() => (id) => at.send(QUEUE, { id }));
  },
  many: async () => {
    const at = await boss(2);
    return (from, to) => at.insert(QUEUE, numbers(from, to).map((id) => ({ data: { id } })));
  },
  drain: async ({ jobs, limit, tell }) => {
    const at = await boss(10);
    const [look] = await connections(1);
    let done = 0;
    const from = now();
    await at.work(QUEUE, { batchSize: 1000, localConcurrency: 4, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }, async (batch) => {
      done += batch.length;
    });
    while (done < jobs && now() - from < limit) await sleep(2);
    if (done < jobs) return tell(done, from, true);
    // Its handlers return before their completion is committed.
    const left = "select exists (select from pgboss.job where name = $1 and state = 'active') as any";
    while ((await look.query(left, [QUEUE])).rows[0].any) await sleep(5);
    tell(done, from);
  },
  idle: async (began) => {
    const at = await boss(10, { useListenNotify: true });
    const how = { batchSize: 1, localConcurrency: 4, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 };
    await at.work(QUEUE, how, async ([job]) => began(job.data.id));
    // It does not tell when it listens.
    await sleep(1500);
  },
});
