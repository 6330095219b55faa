// Node's fetch: a record as JSON, then lines from a stream.
const [address, record] = process.argv.slice(2);
const one = await fetch(`${address}/score`, {
  method: "POST", headers: { "content-type": "application/json" }, body: record,
});
const lines = await fetch(`${address}/score`, {
  method: "POST", headers: { "content-type": "application/x-ndjson" }, duplex: "half",
  body: new Blob([`${record}\n`, `${record}\n`]).stream(),
});
if ((await lines.text()).split("\n").length !== 3) throw new Error("expected two lines");
console.log((await one.json()).results[0].score);
