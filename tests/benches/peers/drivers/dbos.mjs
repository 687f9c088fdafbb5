// DBOS Transact: a job is a workflow without steps on a queue, 500 of them at once, looked for every 10 ms.
import { connections, load, play, now, sleep, url } from "./verbs.mjs";

const { DBOS, DBOSClient } = await load("@dbos-inc/dbos-sdk");

// It takes no URL without a user and a host in front; the socket's folder stands behind, and counts.
const user = new URLSearchParams(url.split("?")[1]).get("user");
const systemUrl = user ? url.replace(":///", `://${user}@localhost/`) : url;
const JOB = { workflowName: "noop", queueName: "q", appVersion: "1" };
// It has no call for many: so many calls stand in one transaction of the caller's.
const TOGETHER = 100;

let begin = () => {};
DBOS.registerWorkflow(async (id) => { begin(id); }, { name: "noop" });

async function launch() {
  DBOS.setConfig({
    name: "bench", systemDatabaseUrl: systemUrl, systemDatabasePoolSize: 20, applicationVersion: "1", logLevel: "error", runAdminServer: false,
  });
  await DBOS.launch();
}

const queue = () => DBOS.registerQueue("q", { workerConcurrency: 500, minPollingIntervalMs: 10 });
const client = () => DBOSClient.create({ systemDatabaseUrl: systemUrl });

await play({
  setup: async () => {
    await launch();
    await DBOS.shutdown();
  },
  clients: async (count) => {
    const at = await client();
    return Array.from({ length: count }, () => (id) => at.enqueue(JOB, id));
  },
  many: async () => {
    const at = await client();
    const [connection] = await connections(1);
    return async (from, to) => {
      for (let id = from; id < to; id++) {
        if ((id - from) % TOGETHER === 0) await connection.query("begin");
        await at.enqueueInTransaction(connection, JOB, id);
        if ((id - from) % TOGETHER === TOGETHER - 1 || id === to - 1) await connection.query("commit");
      }
    };
  },
  drain: async ({ jobs, limit, tell }) => {
    let done = 0;
    begin = () => { done++; };
    const [look] = await connections(1);
    await launch();
    const from = now();
    await queue();
    while (done < jobs && now() - from < limit) await sleep(2);
    if (done < jobs) return tell(done, from, true);
    // Its handlers return before their completion is committed.
    const left = "select exists (select from dbos.workflow_status where status = 'PENDING') as any";
    while ((await look.query(left)).rows[0].any) await sleep(5);
    tell(done, from);
  },
  idle: async (began) => {
    begin = began;
    await launch();
    await queue();
    // It does not tell when it looks for the first time.
    await sleep(1000);
  },
});
