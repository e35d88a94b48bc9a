// graphile-worker as a peer of `snowpack bench queue`: node -e THIS JOBS, with the database in
// DATABASE_URL. Queues so many jobs that do nothing, works on them with the settings its own
// performance test uses, and prints one JSON document. Exits 3 when the package is not there.
const jobs = Number(process.argv[1]);

let worker;
try {
  worker = require("graphile-worker");
} catch {
  process.exit(3);
}

async function main() {
  const connectionString = process.env.DATABASE_URL;
  const logger = new worker.Logger(() => () => {});
  const utils = await worker.makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  await utils.withPgClient((client) =>
    client.query(
      `select count(*) from graphile_worker.add_jobs(array(
         select row('nothing', '{}', null, null, null, null, null, null)::graphile_worker.job_spec
         from generate_series(1, $1::int)))`,
      [jobs],
    ),
  );
  await utils.release();

  let done = 0;
  let all;
  const ended = new Promise((resolve) => (all = resolve));
  const begun = process.hrtime.bigint();
  const runner = await worker.run({
    preset: {
      worker: {
        connectionString,
        concurrentJobs: 24,
        maxPoolSize: 25,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        logger,
      },
    },
    noHandleSignals: true,
    taskList: {
      nothing: () => {
        done += 1;
        if (done === jobs) all();
      },
    },
  });
  await ended;
  // Flushes what is not yet written as done.
  await runner.stop();
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
  const { version } = require("graphile-worker/package.json");
  console.log(JSON.stringify({ version, jobs: done, seconds }));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
